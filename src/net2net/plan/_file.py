"""Plans on disk: one safetensors file with arrays, each once, and all the rest as JSON in its header."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from net2net.errors import OptionError

# Keeps an array and gives back the key that stands for it in the JSON.
Store = Callable[[np.ndarray], str]
Arrays = Mapping[str, np.ndarray]
_KEY = "net2net.plan"


def write(path: str | Path, describe: Callable[[Store], dict[str, Any]]) -> None:
    """Write what `describe` gives, with the arrays that it stores, to a file that `read` reads."""
    arrays: dict[str, np.ndarray] = {}
    keys: dict[tuple[str, bytes], str] = {}

    def store(array: np.ndarray) -> str:
        key = keys.setdefault((f"{array.dtype} {array.shape}", array.tobytes()), f"a{len(keys)}")
        arrays[key] = np.ascontiguousarray(array)
        return key

    header = json.dumps(describe(store))
    save_file(arrays, str(path), metadata={_KEY: header})


def fingerprint(describe: Callable[[Store], dict[str, Any]]) -> str:
    """A hash of what `write` would write: the same for the same data, in any process."""
    found = hashlib.sha256()

    def store(array: np.ndarray) -> str:
        return hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()

    found.update(json.dumps(describe(store), sort_keys=True).encode())
    return found.hexdigest()


def read(path: str | Path) -> tuple[dict[str, Any], Arrays]:
    """The JSON and the arrays that `write` wrote.

    Raises:
        OptionError: the file is no plan.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            header: dict[str, Any] = json.loads((file.metadata() or {})[_KEY])
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise not_a_plan(path, error) from error


def not_a_plan(path: str | Path, error: Exception) -> OptionError:
    """The refusal of a file that holds no plan."""
    return OptionError(f"{path} is not a plan of net2net: {type(error).__name__}: {error}")


def plain(value: Any) -> Any:
    """The value of an attribute where JSON has it, else what it prints as."""
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
