"""Work on many tensors at once: one thread for each core, each computing with that core alone."""

from __future__ import annotations

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


def in_threads(work: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """The results of `work`, in the order of the items. Nothing new is begun after an error."""
    own = torch.get_num_threads()
    # torch's own threads inside ours would wait for each other: they spin, and take twice the time.
    with ThreadPoolExecutor(threads(), initializer=lambda: torch.set_num_threads(1)) as pool:
        try:
            yield from pool.map(work, items)
        finally:
            torch.set_num_threads(own)
