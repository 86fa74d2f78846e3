"""The dimensions of a network, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from net2net.axes import LockKind

Tolerance = Literal["any", "multiple", "fixed", "experts"]


@dataclass(frozen=True)
class Place:
    """One axis of one tensor that a dimension runs through. `role` is "produced" (a weight's output side, biases,
    norm parameters and statistics) or "contracted" (a weight's input side, summed over)."""

    tensor: str
    axis: int
    role: Literal["produced", "contracted"]

    def __str__(self) -> str:
        return f"{self.tensor}[{self.axis}]"


@dataclass(frozen=True)
class Dimension:
    """A width of the network: all the tensor axes that must grow together.

    `growth` is "any" (every larger size), "multiple" (whole multiples only), "fixed", or "experts" (what grows is the
    number of experts of a mixture, by `net2net.upcycle`); `reason` says why it is not "any". A dimension that is not
    `primary` shares its axes with another one that a factor for all grows instead (the head size beside the number of
    heads). `lock` is the kind of thing that holds a fixed one at its size, where one thing does.
    """

    name: str
    size: int
    growth: Tolerance
    reason: str
    places: tuple[Place, ...]
    primary: bool = True
    lock: LockKind | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the dimension runs through."""
        return tuple(dict.fromkeys(place.tensor for place in self.places))
