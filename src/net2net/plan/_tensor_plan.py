"""One tensor of the student: how it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from net2net.plan._axis_map import FRESH, AxisMap, Fresh
from net2net.plan._file import Arrays, Store
from net2net.plan._shift import Shift

Fill = Literal["source", "values", "identity", "initial"]


def _equal(a: npt.NDArray[Any] | None, b: npt.NDArray[Any] | None) -> bool:
    return a is b if a is None or b is None else np.array_equal(a, b)


@dataclass(frozen=True)
class Noise:
    """Noise on copies: "zero_sum" over the copies of a unit on a contracted axis (the function stays exact), or on all
    copies but the first of a produced axis "paper". `scale` is relative to the tensor's root mean square; "uniform" is
    as "paper", between `scale` and -`scale` itself."""

    kind: Literal["zero_sum", "paper", "uniform"]
    axis: int
    scale: float


@dataclass(frozen=True, eq=False)
class TensorPlan:
    """How one tensor of the student is made. `shape` is the student's; `axes[k]` is None where axis k stays as it is,
    else a map whose arrays have the length `shape[k]`.

    A copied entry is `(entry + offset) * scale * product of the factors - offset`. `source` is the teacher's tensor,
    where it has another name there. `fill` says what is there before any axis grows: "source" its entries, "values"
    the numbers of `values` (stretched to the shape), "identity" the identity matrix or kernel, "initial" what the
    layer's own initialiser draws. `new` says that the teacher has no such tensor: `source` is then what it copies, or
    its nearest relative. `view` is a shape and an order of axes that the source is seen in before anything else: a
    matrix as a stack of parts of it. `blank` are rows with a meaning of their own, those of padding: draws are 0 there.
    `shifts` are added to the source before all else: constant inputs that go into a bias. `redrawn` (stretched to the
    shape) are entries that are drawn anew, as large as the source's and scaled as copies of them are.
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
    view: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    shifts: tuple[Shift, ...] = ()
    redrawn: npt.NDArray[np.bool_] | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TensorPlan):
            return NotImplemented
        names = ("shape", "axes", "scale", "offset", "noise", "source", "fill", "new", "blank", "view", "shifts")
        same = _equal(self.values, other.values) and _equal(self.redrawn, other.redrawn)
        return same and all(getattr(self, n) == getattr(other, n) for n in names)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash; object's says that all do

    def seen(self, source: Any) -> Any:
        """The teacher's tensor, in the shape and order that the plan sees it in."""
        return source if self.view is None else source.reshape(self.view[0]).permute(self.view[1])

    @property
    def draws_initial(self) -> bool:
        """Whether some of its entries are what the layer's own initialiser draws."""
        fresh = [m.fresh for m in self.axes if m is not None and m.fresh is not None]
        return self.fill == "initial" or any((f == FRESH.index("initial")).any() for f in fresh)

    @classmethod
    def resized(cls, before: Sequence[int], after: Sequence[int], fill: Fresh, source: str | None = None) -> Self:
        """A tensor that is cut, or padded behind its entries, axis by axis.

        Args:
            before, after: its shapes in the teacher and in the student.
            fill: what new places hold.
            source: its name in the teacher, where that is another one.
        """
        axes: list[AxisMap | None] = []
        for old, new in zip(before, after, strict=True):
            places = np.where(np.arange(new) < old, np.arange(new), -1)
            fresh = np.where(places < 0, FRESH.index(fill), 0).astype(np.uint8)
            axes.append(None if new == old else AxisMap(places, None, fresh, before=old))
        return cls(tuple(after), tuple(axes), source=source)

    def data(self, store: Store) -> dict[str, Any]:
        """The plan of the tensor as JSON; its arrays go to the store."""
        return {
            **{
                name: getattr(self, name)
                for name in ("shape", "scale", "offset", "source", "fill", "new", "blank", "view")
            },
            "axes": [None if m is None else m.data(store) for m in self.axes],
            "noise": [asdict(n) for n in self.noise],
            "values": None if self.values is None else store(self.values),
            **({"shifts": [s.data(store) for s in self.shifts]} if self.shifts else {}),
            **({} if self.redrawn is None else {"redrawn": store(self.redrawn)}),
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The plan that `data` described."""
        read = {
            "shape": tuple(data["shape"]),
            "axes": tuple(None if m is None else AxisMap.from_data(m, arrays) for m in data["axes"]),
            "blank": tuple(data.get("blank", ())),
            "view": None if data.get("view") is None else tuple(map(tuple, data["view"])),
            "noise": tuple(Noise(**n) for n in data["noise"]),
            "values": None if data["values"] is None else arrays[data["values"]],
            "shifts": tuple(Shift.from_data(s, arrays) for s in data.get("shifts", ())),
            "redrawn": arrays[data["redrawn"]] if "redrawn" in data else None,
        }
        return cls(**{**data, **read})
