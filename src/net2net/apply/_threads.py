"""Work on many tensors at once: one thread for each core, each computing with that core alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# More threads than this wait for the disk, and each holds its own pieces in memory.
_MOST = 8


def threads() -> int:
    """How many tensors are worked on at once."""
    return min(torch.get_num_threads(), _MOST)


def one_core_each() -> ThreadPoolExecutor:
    """A pool of so many threads, for work under `alone`. To begin a thread takes torch milliseconds: keep the pool."""
    return ThreadPoolExecutor(threads(), initializer=lambda: torch.set_num_threads(1))


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Each thread computes with one core: torch's own threads beside ours wait for each other, spinning."""
    own = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(own)


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results of `work`, in the order of the items. Nothing new is begun after an error."""
    with one_core_each() as pool, alone():
        yield from pool.map(work, items)
