"""Words of a config to new sizes."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from net2net.errors import SizeError, UnknownNameError
from net2net.request import Size, new_size


def new_config(config: Any, sizes: Mapping[str, Size]) -> Any:
    """The config with the sizes asked for: {"hidden_size": "2x", "num_hidden_layers": 32, "text_config.x": ...}.

    Raises:
        UnknownNameError, SizeError: a key or a size doesn't work.
    """
    result = copy.deepcopy(config)
    for key, wanted in sizes.items():
        *path, name = key.split(".")
        owner = result
        for part in path:
            owner = getattr(owner, part, None)
        before = getattr(owner, name, None)
        if isinstance(before, bool) or not isinstance(before, int):
            numbers = sorted(n for n, v in vars(config).items() if isinstance(v, int) and not isinstance(v, bool))
            known = [n for n in numbers if not n.startswith("_") and not n.endswith("token_id")]
            raise UnknownNameError(f"'{key}' is no size in the config of {type(config).__name__}. Sizes: {known}.")
        after = new_size(wanted, before, key)
        if after < before:
            raise SizeError(f"'{key}' is {before}; {after} is smaller, and growth never shrinks. Ask for more.")
        setattr(owner, name, after)
    return result
