"""Nested states (of models, optimizers, random generators) in one safetensors file, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor

from net2net.errors import CheckpointError

_TREE = "state"


def save_state(path: Path, state: Any) -> None:
    """Write dicts, lists and tuples of tensors, numbers and strings to one file; no pickle.

    A file that was there is replaced in one step, once the new one is on the disk.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(state, tensors))
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.new")
    save_file(tensors, partial, {_TREE: tree})
    _to_disk(partial)
    os.replace(partial, path)


def load_state(path: Path) -> Any:
    """What `save_state` wrote; tensors are on the CPU.

    Raises:
        CheckpointError: the file is none of these.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tree = json.loads((file.metadata() or {})[_TREE])
            return _unpacked(tree, {name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is no state that net2net wrote: {error}") from error


def save_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.new")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    _to_disk(partial)
    os.replace(partial, path)


def _to_disk(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """JSON in which a tensor is {"t": its name}, and each container says what it is."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"t": name}
    if isinstance(value, dict):
        return {"d": [[_packed(k, tensors), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {"l" if isinstance(value, list) else "u": [_packed(v, tensors) for v in value]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise CheckpointError(f"a state holds a {type(value).__name__}, which can't be written without pickle.")


def _unpacked(value: Any, tensors: dict[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "t":
        return tensors[content]
    if kind == "d":
        return {_unpacked(k, tensors): _unpacked(v, tensors) for k, v in content}
    found = [_unpacked(v, tensors) for v in content]
    return found if kind == "l" else tuple(found)


def random_state() -> dict[str, Any]:
    """The state of torch's generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state: dict[str, Any]) -> None:
    """Go on from where `random_state` was taken."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
