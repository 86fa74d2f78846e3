"""A growth as data: for every tensor of the student, where each entry comes from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Fresh = Literal["keep", "zero", "mean", "random", "initial"]
_PROMISES = ("exact", "approximate", "none")
FRESH: tuple[Fresh, ...] = ("keep", "zero", "mean", "random", "initial")
Fill = Literal["source", "values", "identity", "initial"]
ARRAYS = ("source", "factor", "fresh", "partner", "gradient")  # of an axis map
Preservation = Literal["exact", "approximate", "none"]


@dataclass(frozen=True, eq=False)
class AxisMap:
    """Where the places of one axis of a student's tensor come from.

    `source[i]` is the place in the teacher's axis, or -1 for a new place; `factor[i]` multiplies a copied place
    (shares of copies of a unit sum to 1 on a contracted axis); `fresh[i]` indexes `FRESH`: how a new place is filled;
    `partner[i]` is the new place whose values this one repeats, times `sign` (-1 on a contracted axis), or -1.
    `gradient[i]` is what the gradient of a copied place is multiplied by: the outgoing share of a unit on a produced
    axis. The optimizer's state follows it. Of the copies of a place, factor * gradient sums to 1. `spread` is the size
    of new random entries, relative to the root mean square of the tensor's old ones.
    """

    source: npt.NDArray[np.int64]
    factor: npt.NDArray[np.float64] | None = None
    fresh: npt.NDArray[np.uint8] | None = None
    partner: npt.NDArray[np.int64] | None = None
    sign: int = 1
    contracted: bool = False
    gradient: npt.NDArray[np.float64] | None = None
    spread: float = 1.0

    @property
    def is_prefix(self) -> bool:
        """Whether the teacher's places come first, in order and unscaled, and only new ones follow."""
        old = int((self.source >= 0).sum())
        return self.factor is None and bool((self.source[:old] == np.arange(old)).all())

    @property
    def has_copies(self) -> bool:
        """Whether some place of the teacher is there more than once."""
        old = self.source[self.source >= 0]
        return len(np.unique(old)) < len(old)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, AxisMap):
            return NotImplemented
        same = (self.sign, self.contracted, self.spread) == (other.sign, other.contracted, other.spread)
        pairs = [(getattr(self, n), getattr(other, n)) for n in ARRAYS]
        return same and all((a is None) == (b is None) and (a is None or np.array_equal(a, b)) for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]


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


@dataclass(frozen=True)
class Widening:
    """One dimension of the growth: its name, its sizes, how the new units are made, and which old units they copy."""

    dimension: str
    before: int
    after: int
    how: str
    units: AxisMap = field(repr=False)


@dataclass(frozen=True)
class Deepening:
    """One place of the growth in depth: a stack of blocks, or a layer that identity layers follow.

    `sources[i]` is the block of the teacher that block i of the student is, or copies where `new[i]`; for a layer
    they count it and the layers after it. `kernels` are the sizes of new layers: None for a linear one.
    """

    place: str
    kind: Literal["blocks", "layers"]
    init: str
    sources: tuple[int, ...]
    new: tuple[bool, ...]
    kernels: tuple[tuple[int, ...] | None, ...] = ()

    @property
    def before(self) -> int:
        """How many blocks or layers the teacher has here."""
        return self.new.count(False)

    @property
    def after(self) -> int:
        """How many the student has."""
        return len(self.new)


@dataclass(frozen=True)
class Plan:
    """A growth as data. `tensors` holds the tensors that change; every other one is copied as it is.

    `attributes` are the module attributes that the growth sets beside the sizes, a norm's eps:
    {module path: {attribute: value}}; `changed` are those that it sets anew: {path.attribute: (old, new)}. `preserves`
    says whether the student computes the teacher's function: "exact", "approximate" (noise as in the paper) or "none"
    (the random-pad baseline). `left_out` are dimensions or places that a factor for all did not grow, with the reason.
    `removed` are tensors that the student has under other names only, `notes` what a reader should know. `earlier` is a
    growth that is carried out first: its student is this one's
    teacher.
    """

    tensors: dict[str, TensorPlan]
    widenings: tuple[Widening, ...]
    seed: int
    preserves: Preservation = "exact"
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    deepenings: tuple[Deepening, ...] = ()
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    earlier: Plan | None = None
    version: str = ""

    def after(self, earlier: Plan) -> Plan:
        """One plan for two growths, `earlier` and then this one."""
        first = earlier if self.earlier is None else self.earlier.after(earlier)
        return replace(self, earlier=first, preserves=max(self.preserves, earlier.preserves, key=_PROMISES.index))

    @property
    def steps(self) -> tuple[Plan, ...]:
        """The growths that this one consists of, the first one first, each without the ones before it."""
        return (*(self.earlier.steps if self.earlier is not None else ()), replace(self, earlier=None))

    def save(self, path: str | Path) -> None:
        """Write the plan to one file; `Plan.load` reads it, and `net2net.replay` carries it out again."""
        from net2net.plan._file import save_plan

        save_plan(self, path)

    @staticmethod
    def load(path: str | Path) -> Plan:
        """Read a plan that `save` wrote.

        Raises:
            OptionError: the file is no plan.
        """
        from net2net.plan._file import load_plan

        return load_plan(path)

    def __str__(self) -> str:
        from net2net.report import plan_table

        return plan_table(self)
