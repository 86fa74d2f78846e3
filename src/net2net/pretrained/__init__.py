"""What the library knows of transformers' conventions, without importing transformers."""

from net2net.pretrained._config import Changes, Key, construct, numbers, parameters_on_meta, sequences, set_key
from net2net.pretrained._recognise import (
    function_of,
    has_dynamic_positions,
    in_pretrained,
    is_model_output,
    is_pretrained,
    pretrained_in,
    reset_positions,
)

__all__ = [
    "Changes",
    "Key",
    "construct",
    "function_of",
    "has_dynamic_positions",
    "in_pretrained",
    "is_model_output",
    "is_pretrained",
    "numbers",
    "parameters_on_meta",
    "pretrained_in",
    "reset_positions",
    "sequences",
    "set_key",
]
