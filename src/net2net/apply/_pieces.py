"""A tensor of the student in pieces of rows: the same entries, whether it is made at once or streamed."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch

from net2net.plan import FRESH, AxisMap, TensorPlan

# Reads rows of the teacher's tensor: positions along its first axis, in ascending order.
Read = Callable[[npt.NDArray[np.int64]], torch.Tensor]
# Makes a tensor of the student from the teacher's entries, a plan, their root mean square and a generator.
Make = Callable[[torch.Tensor, TensorPlan, float, torch.Generator], torch.Tensor]

PIECE = 2**20  # entries of the student's tensor that are made at a time


def bounds(plan: TensorPlan) -> list[tuple[int, int]]:
    """The first row of every piece and the one after its last: `[start, end)` along the student's first axis.

    A tensor whose rows need each other is one piece.
    """
    entries = math.prod(plan.shape)
    if entries <= PIECE or len(plan.shape) < 2 or not _rows_are_independent(plan):
        return [(0, plan.shape[0] if plan.shape else 1)]
    rows = max(1, PIECE // math.prod(plan.shape[1:]))
    return [(start, min(start + rows, plan.shape[0])) for start in range(0, plan.shape[0], rows)]


def _rows_are_independent(plan: TensorPlan) -> bool:
    if plan.fill not in ("source", "values") or any(n.axis == 0 for n in plan.noise):
        return False
    if plan.values is not None and plan.values.size > 1:
        return False
    if any(m is not None and m.partner is not None for m in plan.axes):
        return False
    first = plan.axes[0]
    return first is None or first.fresh is None or not (first.fresh == FRESH.index("mean")).any()


def pieces(
    name: str, plan: TensorPlan, rows: int, seed: int, read: Read, rms: Callable[[], float], make: Make
) -> Iterator[torch.Tensor]:
    """The pieces of a tensor, in order. Each depends on the seed, the name and its place alone.

    A draw is a function of (seed, name, number of the piece of 2^20 entries): whoever holds a part of a piece draws the
    whole piece, and cuts.

    Args:
        name: of the student's tensor.
        plan: how it is made.
        rows: the length of the first axis of the teacher's tensor.
        seed: of the draws.
        read: from positions (n,) along the teacher's first axis to its rows (n, ...).
        rms: gives the root mean square of the teacher's tensor.
        make: makes a piece of shape (end - start, ...) from those rows.
    """
    size = rms() if _draws(plan) else 0.0
    for k, (start, end) in enumerate(bounds(plan)):
        # The generator reads the low 32 bits of its seed only, so seed, name and place are mixed into these.
        key = f"{seed} {name}" if k == 0 else f"{seed} {name} {k}"
        generator = torch.Generator(device="cpu").manual_seed(zlib.crc32(key.encode()))
        if (start, end) == (0, plan.shape[0] if plan.shape else 1):
            yield make(read(np.arange(rows)), plan, size, generator)
            continue
        places, part = _part(plan, start, end)
        yield make(read(places), part, size, generator)


def _draws(plan: TensorPlan) -> bool:
    fresh = [m.fresh for m in plan.axes if m is not None and m.fresh is not None]
    return bool(plan.noise) or plan.redrawn is not None or any((f == FRESH.index("random")).any() for f in fresh)


def _part(plan: TensorPlan, start: int, end: int) -> tuple[npt.NDArray[np.int64], TensorPlan]:
    """The teacher's rows that a run of the student's rows needs, and the plan for the run."""
    shape = (end - start, *plan.shape[1:])
    plan = replace(plan, blank=tuple(row - start for row in plan.blank if start <= row < end))
    if plan.redrawn is not None and len(plan.redrawn) > 1:
        plan = replace(plan, redrawn=plan.redrawn[start:end])
    first = plan.axes[0]
    if first is None:
        return np.arange(start, end), replace(plan, shape=shape)
    source = first.source[start:end]
    places = np.unique(source[source >= 0])
    if not len(places):
        places = np.arange(1)  # entries are needed for their dtype and their other axes
    local = np.where(source < 0, -1, np.searchsorted(places, source))
    part = AxisMap(
        local,
        None if first.factor is None else first.factor[start:end],
        None if first.fresh is None else first.fresh[start:end],
        None,
        first.sign,
        first.contracted,
        spread=first.spread,
        before=len(places),
        values=None if first.values is None else first.values[start:end],
    )
    return places, replace(plan, shape=shape, axes=(part, *plan.axes[1:]))
