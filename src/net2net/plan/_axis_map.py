"""One axis of a tensor of the student: where each of its places comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from net2net.plan._file import Arrays, Store

Fresh = Literal["keep", "zero", "mean", "random", "initial", "value"]
FRESH: tuple[Fresh, ...] = ("keep", "zero", "mean", "random", "initial", "value")
_ARRAYS = ("source", "factor", "fresh", "partner", "gradient", "values")
_NUMBERS = ("sign", "contracted", "spread", "before")


@dataclass(frozen=True, eq=False)
class AxisMap:
    """Where the places of one axis of a student's tensor come from.

    `source[i]` is the place in the teacher's axis, or -1 for a new place; `factor[i]` multiplies a copied place
    (shares of copies of a unit sum to 1 on a contracted axis); `fresh[i]` indexes `FRESH`: how a new place is filled;
    `partner[i]` is the new place whose values this one repeats, times `sign` (-1 on a contracted axis), or -1.
    `gradient[i]` is what the gradient of a copied place is multiplied by: the outgoing share of a unit on a produced
    axis. The optimizer's state follows it. Of the copies of a place, factor * gradient sums to 1. `spread` is the size
    of new random entries, relative to the root mean square of the tensor's old ones. `before` is the size of the
    teacher's axis: by default up to the last place that is copied. `values[i]` is what a new place that is filled by
    "value" holds.
    """

    source: npt.NDArray[np.int64]
    factor: npt.NDArray[np.float64] | None = None
    fresh: npt.NDArray[np.uint8] | None = None
    partner: npt.NDArray[np.int64] | None = None
    sign: int = 1
    contracted: bool = False
    gradient: npt.NDArray[np.float64] | None = None
    spread: float = 1.0
    before: int = -1
    values: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.before < 0:
            object.__setattr__(self, "before", int(self.source.max(initial=-1)) + 1)

    @property
    def is_prefix(self) -> bool:
        """Whether the teacher's places come first, in order and unscaled, and only new ones follow."""
        old = int((self.source >= 0).sum())
        whole = old == min(self.before, len(self.source))
        return self.factor is None and whole and bool((self.source[:old] == np.arange(old)).all())

    @property
    def has_copies(self) -> bool:
        """Whether some place of the teacher is there more than once."""
        old = self.source[self.source >= 0]
        return len(np.unique(old)) < len(old)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AxisMap):
            return NotImplemented
        same = all(getattr(self, n) == getattr(other, n) for n in _NUMBERS)
        pairs = [(getattr(self, n), getattr(other, n)) for n in _ARRAYS]
        return same and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash; object's says that all do

    def data(self, store: Store) -> dict[str, Any]:
        """The map as JSON; its arrays go to the store."""
        arrays = {name: store(getattr(self, name)) for name in _ARRAYS if getattr(self, name) is not None}
        return {**arrays, **{name: getattr(self, name) for name in _NUMBERS}}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The map that `data` described."""
        found: dict[str, Any] = {name: arrays[data[name]] for name in _ARRAYS if name in data}
        return cls(**found, **{name: data[name] for name in _NUMBERS if name in data})
