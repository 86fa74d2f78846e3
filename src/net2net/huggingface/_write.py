"""Writes safetensors in a stream: header first, then each tensor in pieces; what was finished is never done again."""

from __future__ import annotations

import functools
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from net2net.apply import in_threads
from net2net.errors import CheckpointError
from net2net.huggingface._folder import INDEX, NAMES, SINGLE

JOURNAL = "progress.jsonl"
# After so many bytes the file is brought to the disk, and the journal says which tensors are finished.
_SYNC_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Slot:
    """Where a tensor goes: its file, and the first byte of it there."""

    name: str
    file: str
    start: int
    length: int
    dtype: torch.dtype
    shape: tuple[int, ...]


def layout(tensors: Mapping[str, tuple[tuple[int, ...], torch.dtype]], max_shard_bytes: int) -> list[Slot]:
    """Put the tensors into files of at most so many bytes, in their order; a larger tensor has its own file."""
    shards: list[list[tuple[str, tuple[int, ...], torch.dtype, int]]] = [[]]
    total = 0
    for name, (shape, dtype) in tensors.items():
        length = dtype.itemsize
        for size in shape:
            length *= size
        if shards[-1] and total + length > max_shard_bytes:
            shards.append([])
            total = 0
        shards[-1].append((name, shape, dtype, length))
        total += length
    slots = []
    for i, shard in enumerate(shards):
        file = SINGLE if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        start = 0
        for name, shape, dtype, length in shard:
            slots.append(Slot(name, file, start, length, dtype, shape))
            start += length
    return slots


def check_disk(partial: Path, length: int) -> None:
    """Raise if a folder to be made can't hold so many bytes; what an earlier run left in it counts as free."""
    parent = next(p for p in partial.parents if p.exists())
    used = sum(f.stat().st_blocks * 512 for f in partial.glob("*") if f.is_file()) if partial.exists() else 0
    free = shutil.disk_usage(parent).free + used
    if free < length:
        raise CheckpointError(f"{readable(length)} are needed in {parent}, and {readable(free)} are free.")


def readable(count: int) -> str:
    """A number of bytes in the unit that shows something.

    Example:
        >>> readable(7_400_000_000), readable(35_250), readable(0)
        ('7.40 GB', '35.25 kB', '0 bytes')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.2f} {unit}"
    return f"{count} bytes"


def write(
    folder: Path, slots: list[Slot], make: Callable[[Slot], Iterator[torch.Tensor]], done: Callable[[int], None]
) -> dict[str, str]:
    """Write every tensor; what the journal of an earlier run names is kept.

    Args:
        folder: an existing folder.
        slots: from `layout`.
        make: gives the pieces of a tensor, in order.
        done: is told how many bytes are finished.

    Returns:
        The checksum (CRC-32, hexadecimal) of every tensor.
    """
    sums = _finished(folder)
    files: dict[str, list[Slot]] = {}
    for slot in slots:
        files.setdefault(slot.file, []).append(slot)
    for file, inside in files.items():
        header = _header(inside)
        path = folder / file
        if not path.exists():
            _allocate(path, header, sum(s.length for s in inside))
            sums = {name: value for name, value in sums.items() if name not in {s.name for s in inside}}
        with open(path, "r+b", buffering=0) as stream, open(folder / JOURNAL, "a") as journal:
            finished = [slot for slot in inside if slot.name in sums]
            rest = [slot for slot in inside if slot.name not in sums]
            done(sum(slot.length for slot in finished))
            pending: list[str] = []
            unsynced = 0
            tensor = functools.partial(_tensor, stream.fileno(), len(header), make=make)
            for slot, crc in zip(rest, in_threads(tensor, rest), strict=True):
                sums[slot.name] = crc
                pending.append(json.dumps({"tensor": slot.name, "crc32": crc}) + "\n")
                unsynced += slot.length
                if unsynced >= _SYNC_BYTES or slot is rest[-1]:
                    os.fdatasync(stream.fileno())  # the journal names only what is on the disk
                    journal.writelines(pending)
                    journal.flush()
                    pending, unsynced = [], 0
                done(slot.length)
    if len(files) > 1:
        total = sum(s.length for s in slots)
        index = {"metadata": {"total_size": total}, "weight_map": {s.name: s.file for s in slots}}
        (folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return sums


def _finished(folder: Path) -> dict[str, str]:
    """The tensors that an earlier run has finished. A line that was cut off while it was written doesn't count."""
    found: dict[str, str] = {}
    if (folder / JOURNAL).is_file():
        for line in (folder / JOURNAL).read_text().splitlines():
            try:
                entry = json.loads(line)
                found[entry["tensor"]] = entry["crc32"]
            except (ValueError, KeyError, TypeError):
                continue
    return found


def _header(slots: list[Slot]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for slot in slots:
        entries[slot.name] = {
            "dtype": NAMES[slot.dtype],
            "shape": list(slot.shape),
            "data_offsets": [slot.start, slot.start + slot.length],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _allocate(path: Path, header: bytes, length: int) -> None:
    """Make a file of its final size, under another name until it has its header."""
    partial = path.with_suffix(".new")
    try:
        with open(partial, "wb") as stream:
            stream.write(header)
            stream.truncate(len(header) + length)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise CheckpointError(f"{path.name} can't be written: {error}.") from error
    partial.rename(path)


def _tensor(descriptor: int, first: int, slot: Slot, make: Callable[[Slot], Iterator[torch.Tensor]]) -> str:
    crc, written, offset = 0, 0, first + slot.start
    for piece in make(slot):
        view = _in_bytes(piece.to(slot.dtype))
        crc = zlib.crc32(view, crc)
        while view:
            count = os.pwrite(descriptor, view, offset + written)
            view, written = view[count:], written + count
    if written != slot.length:
        raise CheckpointError(f"'{slot.name}' came out with {written} bytes instead of {slot.length}.")
    return f"{crc:08x}"


def checksum(tensor: torch.Tensor) -> str:
    """The checksum (CRC-32, hexadecimal) of a tensor as it is in a file."""
    return f"{zlib.crc32(_in_bytes(tensor)):08x}"


def _in_bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().data
