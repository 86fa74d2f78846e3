"""One tensor of the student: how it is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from net2net.plan._axis_map import AxisMap

Fill = Literal["source", "values", "identity", "initial"]


@dataclass(frozen=True)
class Noise:
    """Noise on copies: "zero_sum" over the copies of a unit on a contracted axis (the function stays exact), or
    "paper" on all copies but the first of a produced axis. `scale` is relative to the tensor's root mean square."""

    kind: Literal["zero_sum", "paper"]
    axis: int
    scale: float


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """How one tensor of the student is made. `axes[k]` is None where axis k stays as it is.

    A copied entry is `(entry + offset) * scale * product of the factors - offset`. `source` is the teacher's tensor,
    where it has another name there. `fill` says what is there before any axis grows: "source" its entries, "values"
    the numbers of `values` (stretched to the shape), "identity" the identity matrix or kernel, "initial" what the
    layer's own initialiser draws. `new` says that the teacher has no such tensor: `source` is then what it copies, or
    its nearest relative. `blank` are rows with a meaning of their own, those of padding: draws are 0 there.
    """

    shape: tuple[int, ...]
    axes: tuple[AxisMap | None, ...]
    scale: float = 1.0
    offset: float = 0.0
    noise: tuple[Noise, ...] = ()
    source: str | None = None
    fill: Fill = "source"
    values: npt.NDArray[np.float64] | None = None
    new: bool = False
    blank: tuple[int, ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorPlan):
            return NotImplemented
        names = ("shape", "axes", "scale", "offset", "noise", "source", "fill", "new", "blank")
        mine, theirs = self.values, other.values
        same = (mine is None) == (theirs is None) and (mine is None or theirs is None or np.array_equal(mine, theirs))
        return same and all(getattr(self, n) == getattr(other, n) for n in names)

    __hash__ = None  # type: ignore[assignment]
