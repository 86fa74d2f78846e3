"""A Hugging Face folder as it is on disk: its config, its class, and where each tensor is."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from net2net.errors import CheckpointError, MissingExtraError
from net2net.pretrained import COUNTS_LAYERS

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
MOST_LAYERS = 10_000  # more are taken for a mistake
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class Stored:
    """One tensor of a folder: its file, its first byte there, its shape and its dtype."""

    file: Path
    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Part:
    """A tensor of the files that is a part of a module's: rows of one expert, or all of it where `expert` is None."""

    name: str
    expert: int | None
    start: int
    stop: int


@dataclass
class Folder:
    """A checkpoint: `tensors` by name, as they are in the files; where modules have several of these in one, that one
    is among the `tensors`, `parts` says what it consists of, and `files` are the tensors as they are in the files."""

    path: Path
    config: Any
    model_class: type[nn.Module]
    tensors: dict[str, Stored]
    files: dict[str, Stored]
    parts: dict[str, tuple[Part, ...]] = field(default_factory=dict)

    def read(
        self, name: str, rows: npt.NDArray[np.int64] | None = None, buffer: torch.Tensor | None = None
    ) -> torch.Tensor:
        """A tensor, or rows of it (ascending), read from the file; nothing else is kept in memory.

        Args:
            name: of the tensor.
            rows: all of them by default.
            buffer: bytes that the result may lie in; it must have enough of them.
        """
        if name in self.parts:
            return self._joined(name, rows, buffer)
        stored = self.files[name]
        if rows is None or not stored.shape or len(rows) == stored.shape[0]:
            shape, runs = stored.shape, [(0, stored.shape[0] - 1 if stored.shape else 0)]
        else:
            shape, runs = (len(rows), *stored.shape[1:]), list(_runs(rows))
        if buffer is None:
            result = torch.empty(shape, dtype=stored.dtype)
        else:
            result = buffer[: math.prod(shape) * stored.dtype.itemsize].view(stored.dtype).view(shape)
        row = result[0].numel() * stored.dtype.itemsize if stored.shape and len(result) else stored.dtype.itemsize
        view = result.view(-1).view(torch.uint8).numpy().data
        with open(stored.file, "rb", buffering=0) as stream:
            filled = 0
            for start, end in runs if view else ():
                length = (end - start + 1) * row
                place = stored.start + start * row
                while length:
                    count = os.preadv(stream.fileno(), [view[filled : filled + length]], place)
                    if not count:
                        raise CheckpointError(f"{stored.file.name} ends before '{name}' does.")
                    filled, place, length = filled + count, place + count, length - count
        return result

    def _joined(self, name: str, rows: npt.NDArray[np.int64] | None, buffer: torch.Tensor | None) -> torch.Tensor:
        """A tensor of a module, or some experts of it, of its parts in the files."""
        parts = self.parts[name]
        if parts[0].expert is None:
            return self.read(parts[0].name, rows, buffer)
        wanted = range(self.tensors[name].shape[0]) if rows is None else rows.tolist()
        of: dict[int, list[str]] = {}
        for part in parts:
            of.setdefault(part.expert or 0, []).append(part.name)
        return torch.stack([torch.cat([self.read(each) for each in of[expert]]) for expert in wanted])

    def bytes(self) -> int:
        """The size of all tensors."""
        return sum(_size(s) for s in self.files.values())


def _size(stored: Stored) -> int:
    return stored.dtype.itemsize * math.prod(stored.shape)


def _runs(rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    breaks = np.flatnonzero(np.diff(rows) != 1)
    starts, ends = np.concatenate([[0], breaks + 1]), np.concatenate([breaks, [len(rows) - 1]])
    yield from zip(rows[starts].tolist(), rows[ends].tolist(), strict=True)


def open_folder(path: str | Path) -> Folder:
    """Read the config and the headers of a checkpoint; no weight is read.

    Raises:
        CheckpointError: it is no folder of transformers, or its files are damaged or not what they claim to be.
    """
    path = Path(path)
    config, model_class = open_config(path)
    if getattr(config, "quantization_config", None) is not None:
        raise CheckpointError(f"{path} is quantised, by its config.json: grow the weights that it was made from.")
    tensors = _tensors(path)
    return Folder(path, config, model_class, tensors, tensors)


def open_config(path: Path) -> tuple[Any, Any]:
    """The config of a checkpoint and the class that it names; only config.json is read.

    Raises:
        CheckpointError: there is none, it can't be read, or it asks for code that isn't in transformers.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtraError("a Hugging Face folder needs transformers: install net2net[huggingface].") from error
    file = path / "config.json"
    if not file.is_file():
        what = "has no config.json: it is not a Hugging Face folder" if path.exists() else "doesn't exist"
        raise CheckpointError(f"{path} {what}. A model of the hub has a name with one slash: OWNER/MODEL.")
    _check_words(file)
    try:
        config = transformers.AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # the validation of a config raises anything
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file} can't be read: {reason}") from error
    names = getattr(config, "architectures", None)
    name = str(names[0]) if isinstance(names, list) and names else ""
    model_class: Any = getattr(transformers, name, None)
    is_model = isinstance(model_class, type) and issubclass(model_class, transformers.PreTrainedModel)
    if not is_model or model_class is transformers.PreTrainedModel:
        raise CheckpointError(f"{file} names no model class of transformers: {name or 'none at all'}.")
    expected = getattr(model_class, "config_class", None)
    if expected is not None and not isinstance(config, expected):
        raise CheckpointError(f"{file} is a {type(config).__name__}, and {name} needs {expected.__name__}.")
    return config, model_class


def is_own(file: Path) -> bool:
    """Whether a file is in its folder, or in the blobs of a hub's cache: a link to elsewhere would give that away."""
    home, real = file.parent.resolve(), file.resolve().parent
    caches = [p.parent.parent / "blobs" for p in (home, *home.parents) if p.parent.name == "snapshots"]
    return real in (home, *caches)


def _check_words(file: Path) -> None:
    """Refuse what a config would do before anything looks at it.

    A number of layers that no checkpoint has would be constructed, and an attention that is named as a repository of
    the hub would be downloaded and run.
    """
    try:
        words = list(_words(json.loads(file.read_text())))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} can't be read: {type(error).__name__}: {str(error)[:200]}") from error
    for key, value in words:
        if isinstance(value, int) and COUNTS_LAYERS.search(key) and value > MOST_LAYERS:
            raise CheckpointError(f"{file} asks for {key}={value}; more than {MOST_LAYERS} is taken for an error.")
        if isinstance(value, str) and key.endswith("_implementation") and "/" in value:
            raise CheckpointError(f"{file} asks for {key}={value[:200]!r}, code from the hub, which is never run.")


def _words(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every word of a config and of the configs in it."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from _words(value, name)
    elif isinstance(content, list):
        for value in content:
            yield from _words(value, key)
    else:
        yield key, content


def _tensors(path: Path) -> dict[str, Stored]:
    files = _files(path)
    indexed = {name for expected in files.values() for name in expected or ()}
    found: dict[str, Stored] = {}
    for file, expected in files.items():
        header = _header(file)
        missing = sorted((expected or set()) - header.keys())
        if missing:
            raise CheckpointError(f"{INDEX} says that {file.name} holds '{missing[0]}', and it doesn't.")
        for name, stored in header.items():
            if name in found or (expected is not None and name not in expected and name in indexed):
                raise CheckpointError(
                    f"'{name}' is in two files, {file.name} and another: which one counts isn't clear."
                )
            if expected is None or name in expected:
                found[name] = stored
    return found


def _files(path: Path) -> dict[Path, set[str] | None]:
    """The files with weights, and the tensors that each should hold."""
    index = path / INDEX
    if (path / SINGLE).is_file():  # transformers looks for it first
        return {path / SINGLE: None}
    if not index.is_file():
        pickles = sorted(p.name for p in path.glob("*.bin"))
        hint = f" {pickles[0]} is a pickle, which can run code: convert it to safetensors." if pickles else ""
        raise CheckpointError(f"{path} has no {SINGLE} and no {INDEX}.{hint}")
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        pairs = [(str(name), str(file)) for name, file in weight_map.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index.name} is damaged: {type(error).__name__}: {error}.") from error
    if not pairs:
        raise CheckpointError(f"{index.name} names no tensor.")
    present = {p.name for p in path.iterdir() if p.is_file()}
    files: dict[Path, set[str] | None] = {}
    for name, file in pairs:
        if file not in present or not file.endswith(".safetensors"):
            raise CheckpointError(
                f"{index.name} names the file {file[:200]!r} for '{name}': no such file in the folder."
            )
        known = files.setdefault(path / file, set())
        assert known is not None
        known.add(name)
    return files


def _header(file: Path) -> dict[str, Stored]:
    """The tensors of a file, by its header, which must account for every byte of it."""
    try:
        with safe_open(str(file), framework="pt", backend="pread") as handle:  # checks the header as a whole
            names = list(handle.keys())
        with open(file, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        size = file.stat().st_size
        found = {}
        for name in names:
            entry = header[name]
            dtype = _DTYPES.get(entry["dtype"])
            if dtype is None:
                raise CheckpointError(f"'{name}' in {file.name} has the dtype {entry['dtype']}, no known one.")
            start, end = entry["data_offsets"]
            stored = Stored(file, 8 + length + start, tuple(entry["shape"]), dtype)
            if end - start != _size(stored) or 8 + length + end > size:
                raise CheckpointError(f"the header of {file.name} says something else of '{name}' than its data.")
            found[name] = stored
        return found
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file.name} is damaged, or no safetensors file: {error}.") from error


def tied_names(model: nn.Module) -> dict[str, str]:
    """For each further name of a shared tensor, its first name."""
    first: dict[int, str] = {}
    ties = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if first.setdefault(id(tensor), name) != name:
            ties[name] = first[id(tensor)]
    return ties
