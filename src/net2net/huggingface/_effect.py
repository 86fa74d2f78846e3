"""Which words of a request are sizes: what changes no tensor is none, and no proof of a few inputs could cover it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from net2net.analysis import Size
from net2net.errors import CheckpointError, SizeError
from net2net.huggingface._config import new_config
from net2net.pretrained import at_the_end, bare_model, shapes, with_longer_lists

# These say how an axis is divided, which the shapes of every value show, or what some classes compute from others.
_WIDTH = re.compile(
    r"(^|_)(heads?(_kv)?|groups?|head_dim|hidden_sizes?|intermediate_size|n_embd|n_inner|d_(model|ff|kv)|ffn_dim)(\.\d+)?$"
)
Shapes = dict[str, tuple[int, ...]]


def check_effect(model_class: Any, config: Any, sizes: Mapping[str, Size]) -> None:
    """Refuse a word of the config that no tensor follows.

    Args:
        model_class: of the checkpoint.
        config: the teacher's.
        sizes: the request.

    Raises:
        SizeError: nothing would grow, or the word changes what is computed.
    """
    name = model_class.__name__
    grown = _shapes(model_class, config, sizes)
    if grown is None:
        return  # the class refuses these sizes, and will say so
    if grown == _shapes(model_class, config, {}):
        raise SizeError(
            f"nothing would grow: no tensor of {name} follows {' or '.join(map(repr, sizes))}. "
            "At most it changes what is computed."
        )
    for key in sizes:
        if _WIDTH.search(key):
            continue
        if grown == _shapes(model_class, config, {k: v for k, v in sizes.items() if k != key}):
            raise SizeError(
                f"'{key}' is neither a width nor a depth: no tensor of {name} follows it. It changes what is computed, "
                "which no growth does; leave it out, or set it in config.json yourself."
            )


def _shapes(model_class: Any, config: Any, sizes: Mapping[str, Size]) -> Shapes | None:
    try:
        wanted = with_longer_lists(model_class, config, new_config(config, sizes), at_the_end)
        return shapes(bare_model(model_class, wanted))
    except CheckpointError:
        return None
