"""Apply size overrides to a config."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from typing import Any

from net2net.analysis import Size, new_size
from net2net.errors import OptionError, SizeError, UnknownNameError
from net2net.huggingface._folder import MOST_LAYERS
from net2net.pretrained import COUNTS_LAYERS


def new_config(config: Any, sizes: Mapping[str, Size]) -> Any:
    """The config with the sizes asked for: {"hidden_size": "2x", "num_hidden_layers": 32, "text_config.x": ...}.

    A list of sizes grows as a whole by a factor ("hidden_sizes": "2x"), or by its entries ("hidden_sizes.0": 96).

    Raises:
        OptionError, UnknownNameError, SizeError: the request, a key or a size doesn't work.
    """
    if not isinstance(sizes, Mapping):
        raise OptionError(f"sizes={sizes!r}: name words of the config, such as {{'hidden_size': '2x'}}.")
    result = copy.deepcopy(config)
    for key, wanted in sizes.items():
        *path, name = str(key).split(".")
        owner: Any = result
        for part in path:
            owner = getattr(owner, part, None)
        known = dict(enumerate(owner)) if isinstance(owner, list) else vars(owner) if hasattr(owner, "__dict__") else {}
        place: Any = int(name) if isinstance(owner, list) and name.isdigit() else name
        before: Any = known.get(place, getattr(owner, name, None))  # a config may call a size by two names
        after: Any
        if _is_size(before) and not name.endswith("_id"):
            after = _grown(wanted, before, key)
        elif _is_sizes(before) and not isinstance(wanted, int):
            after = [_grown(wanted, entry, f"{key}.{i}") for i, entry in enumerate(before)]
        else:
            raise UnknownNameError(f"'{key}' is not a size in the config of {type(config).__name__}. {words(config)}")
        if isinstance(owner, list):
            owner[place] = after
        else:
            setattr(owner, name, after)
    return result


def check_saves(config: Any) -> None:
    """Refuse a config that its class would refuse to save or to load, before anything is written.

    Raises:
        SizeError: its class says no.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            config.save_pretrained(folder)
            type(config).from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the validation of a config raises anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SizeError(f"{type(config).__name__} doesn't allow these sizes: {reason}") from error


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_sizes(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(map(_is_size, value))


def _grown(wanted: Size, before: int, key: str) -> int:
    after = new_size(wanted, before, key)
    if after < before:
        raise SizeError(f"'{key}' is {before}; {after} is smaller, and growth never shrinks. Ask for more.")
    if COUNTS_LAYERS.search(key) and after > MOST_LAYERS:
        raise SizeError(f"'{key}' would be {after}; more than {MOST_LAYERS} layers are taken for a mistake.")
    return after


def words(config: Any) -> str:
    """What of a config is a size, for a message."""
    names = sorted(n for n, v in vars(config).items() if _is_size(v) or _is_sizes(v))
    return f"Sizes: {[n for n in names if not n.startswith('_') and not n.endswith('token_id')]}."
