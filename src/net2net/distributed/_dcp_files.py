"""Folders of torch.distributed.checkpoint: read without trusting their pickle, written a tensor at a time."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.state_dict_loader import load

from net2net.errors import CheckpointError

METADATA = ".metadata"
_OF_TORCH = {"torch.distributed.checkpoint.metadata", "torch.distributed.checkpoint.filesystem"}
_PLAIN = {("collections", "OrderedDict"), ("torch", "Size"), ("torch.serialization", "_get_layout")}


class _Trusted(pickle.Unpickler):
    """Makes what describes a checkpoint, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The class of that name, if a description may hold it."""
        value = getattr(torch, name, None) if module == "torch" else None
        if (
            module in _OF_TORCH
            or (module, name) in _PLAIN
            or isinstance(value, (torch.dtype, torch.layout))
            or module.partition(".")[0] == "pathlib"
        ):
            return super().find_class(module, name)
        raise CheckpointError(f"the description of the checkpoint holds {module}.{name}, which is not loaded.")


class _Reader(FileSystemReader):
    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """What torch's reader gives, but no code is run."""
        return description(Path(self.path))


def description(folder: Path) -> Metadata:
    """Which tensors a checkpoint has, and where.

    Raises:
        CheckpointError: it is none of torch.distributed.checkpoint.
    """
    path = folder / METADATA
    if not path.is_file():
        raise CheckpointError(f"{folder} has no '{METADATA}': it is no checkpoint of torch.distributed.checkpoint.")
    try:
        with path.open("rb") as file:
            found = _Trusted(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, TypeError) as error:
        raise CheckpointError(f"{path} can't be read: {error}") from error
    if not isinstance(found, Metadata):
        raise CheckpointError(f"{path} holds a {type(found).__name__}, no description of a checkpoint.")
    if found.storage_meta is None:
        found.storage_meta = StorageMeta()
    return found


def read(folder: Path, key: str, metadata: Metadata) -> Any:
    """One tensor, whole, whatever the number of ranks that wrote it; or what else has that key.

    Raises:
        CheckpointError: a file is missing or cut off.
    """
    stored = metadata.state_dict_metadata[key]
    try:
        if isinstance(stored, BytesStorageMetadata):
            info = metadata.storage_data[MetadataIndex(key)]
            with (folder / info.relative_path).open("rb") as file:
                file.seek(info.offset)
                return torch.load(io.BytesIO(file.read(info.length)), weights_only=True)
        assert isinstance(stored, TensorStorageMetadata)
        state = {key: torch.empty(stored.size, dtype=stored.properties.dtype)}
        load(state, storage_reader=_Reader(folder), no_dist=True)
        return state[key]
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"'{key}' of {folder} can't be read: {error}") from error


def write(path: Path, keys: Iterable[str], make: Callable[[str], Any]) -> dict[str, Any]:
    """Write a file of tensors, one in memory at a time; the file has its name when it is whole.

    Returns:
        For each key its place in the file, and its shape and dtype.
    """
    partial = path.with_suffix(".partial")
    places: dict[str, Any] = {}
    with partial.open("wb") as file:
        for key in keys:
            value, start = make(key), file.tell()
            torch.save(value, file)
            is_tensor = isinstance(value, torch.Tensor)
            kind = {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")} if is_tensor else {}
            places[key] = {"file": path.name, "offset": start, "length": file.tell() - start, **kind}
        file.flush()
        os.fsync(file.fileno())
    index = path.with_suffix(".json")
    index.write_text(json.dumps(places))
    partial.rename(path)
    return places


def finish(folder: Path, places: dict[str, Any], paths: dict[str, Any]) -> None:
    """Write the description of all that was written.

    Args:
        folder: of the files.
        places: from `write`, of all files.
        paths: where each key is in the nested state.
    """
    tensors: dict[str, Any] = {}
    storage: dict[MetadataIndex, _StorageInfo] = {}
    for key, place in places.items():
        info = _StorageInfo(place["file"], place["offset"], place["length"])
        if "shape" not in place:
            tensors[key] = BytesStorageMetadata()
            storage[MetadataIndex(key)] = info
            continue
        size = torch.Size(place["shape"])
        start = torch.Size([0] * len(size))
        properties = TensorProperties(dtype=getattr(torch, place["dtype"]))
        tensors[key] = TensorStorageMetadata(properties, size, [ChunkStorageMetadata(start, size)])
        storage[MetadataIndex(key, start)] = info
    found = Metadata(tensors, paths, storage, StorageMeta())
    found.version = "1.0.0"
    with (folder / METADATA).open("wb") as file:
        pickle.dump(found, file)
        file.flush()
        os.fsync(file.fileno())
