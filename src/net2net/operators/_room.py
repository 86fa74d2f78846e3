"""Whether a student fits into the memory that is free, known from its sizes before anything is made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import nn

from net2net.analysis import Analysis
from net2net.errors import SizeError
from net2net.student import NewSizes

# Set to anything, a growth is tried whatever it needs.
INSIST = "NET2NET_ANY_SIZE"
# What a plan keeps for each place of an axis that grows: where it comes from, its shares, how it is filled.
_PLACE_BYTES = 33
# What Python keeps for a module beside its tensors.
_MODULE_BYTES = 10_000


def require_room(analysis: Analysis, sizes: Mapping[str, int]) -> None:
    """Raise if a student of these sizes can't fit into memory: itself, the copy that proves it, and its plan.

    Raises:
        SizeError: it can't. The message names the dimension whose growth takes most.
    """
    after = {name: size for name, size in sizes.items() if size > analysis.dimensions[name].size}
    if after:
        largest = max(after, key=lambda name: after[name] / analysis.dimensions[name].size)
        grown = f"'{largest}' {analysis.dimensions[largest].size} -> {after[largest]}"
        _require(_bytes(analysis, after), analysis.sites.model, grown)


def require_room_for_copies(model: nn.Module, path: str, count: int) -> None:
    """Raise if so many copies of a module can't fit into memory.

    Raises:
        SizeError: they can't.
    """
    module = model.get_submodule(path)
    own = sum(t.numel() * t.itemsize for t in (*module.parameters(), *module.buffers()))
    _require(count * (2 * own + _MODULE_BYTES), model, f"{count} more of '{path}'")


def _bytes(analysis: Analysis, sizes: Mapping[str, int]) -> int:
    new = NewSizes(analysis.sites, {analysis.atoms[name]: size for name, size in sizes.items()})
    total = 0
    for value in analysis.sites.inference.graph.state.values():
        shape, count = new.shape(value), 1
        for size, before in zip(shape, value.shape, strict=True):
            count *= size
            total += size * _PLACE_BYTES if size != before else 0
        total += 2 * count * value.dtype.itemsize
    return total


def _require(needed: int, model: nn.Module, grown: str) -> None:
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    free = free_bytes(device)
    if free is not None and needed > free and not os.environ.get(INSIST):
        raise SizeError(
            f"{grown} needs about {needed / 2**30:,.1f} GiB, and {free / 2**30:,.1f} GiB are free on {device}. Ask for "
            f"less, or set {INSIST}=1 in the environment to try it all the same."
        )


def free_bytes(device: torch.device) -> int | None:
    """How much memory is free on a device, as far as that can be known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min(_free_on_host(), default=None) if device.type == "cpu" else None


def _free_on_host() -> Iterator[int]:
    """What the system has, and what the container that this process is in may still take."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        yield 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    for most, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        with contextlib.suppress(OSError, ValueError):
            folder = Path("/sys/fs/cgroup")
            yield int((folder / most).read_text()) - int((folder / used).read_text())
