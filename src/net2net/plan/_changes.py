"""What a growth changes: dimensions that are wider, places that are deeper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from net2net.plan._axis_map import AxisMap

Preservation = Literal["exact", "approximate", "none"]


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
