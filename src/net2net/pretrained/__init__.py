"""What the library knows of transformers' conventions, without importing transformers."""

from net2net.pretrained._config import Changes, Key, bare_model, construct, numbers, sequences, set_key, shapes
from net2net.pretrained._recognise import (
    function_of,
    has_dynamic_positions,
    in_pretrained,
    is_model_output,
    is_pretrained,
    pretrained_in,
    reset_positions,
    without_caches,
)
from net2net.pretrained._search import (
    ABOUT_LAYERS,
    COUNTS_LAYERS,
    Search,
    at_the_end,
    lengths,
    per_layer,
    with_longer_lists,
)
from net2net.pretrained._widths import EpsError, Shapes, Tried, WidthSearch, eps_changes

__all__ = [
    "ABOUT_LAYERS",
    "COUNTS_LAYERS",
    "Changes",
    "EpsError",
    "Key",
    "Search",
    "Shapes",
    "Tried",
    "WidthSearch",
    "at_the_end",
    "bare_model",
    "construct",
    "eps_changes",
    "function_of",
    "has_dynamic_positions",
    "in_pretrained",
    "is_model_output",
    "is_pretrained",
    "lengths",
    "numbers",
    "per_layer",
    "pretrained_in",
    "reset_positions",
    "sequences",
    "set_key",
    "shapes",
    "with_longer_lists",
    "without_caches",
]
