"""What a bias takes over: a constant input that goes, times the weights that read it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from net2net.plan._file import Arrays, Store


@dataclass(frozen=True, eq=False)
class Shift:
    """To a bias is added what a weight makes of constants: sum over j of weight[..., j, ...] * value[j].

    `constants` are the numbers of the input, `formula` is what the network makes of them before the weight (as JSON:
    "x" is the constant, {"state": name} a stored tensor, with "at" its entries there, [operation, {argument: formula}]
    an operation), and `places[j]` the constant that place j of axis `axis` of the weight reads, or -1.
    """

    weight: str
    axis: int
    places: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]
    formula: Any = "x"

    @property
    def reads(self) -> tuple[str, ...]:
        """The stored tensors that the formula names."""
        return tuple(_states(self.formula))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Shift):
            return NotImplemented
        same = (self.weight, self.axis, self.formula) == (other.weight, other.axis, other.formula)
        return same and np.array_equal(self.places, other.places) and np.array_equal(self.constants, other.constants)

    __hash__ = None  # type: ignore[assignment]  # arrays have no hash; object's says that all do

    def data(self, store: Store) -> dict[str, Any]:
        """The shift as JSON; its arrays go to the store."""
        plain = {"weight": self.weight, "axis": self.axis, "formula": self.formula}
        return {**plain, "places": store(self.places), "constants": store(self.constants)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The shift that `data` described."""
        return cls(**{**data, "places": arrays[data["places"]], "constants": arrays[data["constants"]]})


def _states(formula: Any) -> Iterator[str]:
    if isinstance(formula, dict):
        yield formula["state"]
    elif isinstance(formula, (list, tuple)):
        for part in formula[1].values():
            yield from _states(part)
