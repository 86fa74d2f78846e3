"""More experts, as a change of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from net2net.plan import Arrays, AxisMap, Change, Preservation, Row, Store, change


@change("upcycling")
@dataclass(frozen=True)
class Upcycling(Change):
    """One mixture of the growth: its name, its sizes, how its experts are chosen, and which each one copies."""

    makes: ClassVar[str] = "of more experts"
    heading: ClassVar[str] = "mixture"
    listed: ClassVar[str] = "mixtures"
    alike: ClassVar[bool] = True

    experts: str
    before: int
    after: int
    routing: str
    units: AxisMap = field(repr=False)
    preserves: Preservation = "exact"

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each expert of the teacher is there."""
        return tuple(np.bincount(self.units.source, minlength=self.before).tolist())

    def row(self) -> Row:
        """The change as a line of a table."""
        counts = self.counts
        several = f" ({' '.join(map(str, counts))})" if len(set(counts)) > 1 and len(counts) <= 16 else ""
        return Row(self.experts, self.before, self.after, f"{self.routing} routing{several}")

    def symmetry(self) -> str:
        """What parts the replicas of an expert."""
        return "replicas of an expert are equal, and training parts them: each has tokens of its own"

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        sizes = {"name": self.experts, "from": self.before, "to": self.after}
        return {**sizes, "routing": self.routing, "counts": list(self.counts)}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        plain = {n: getattr(self, n) for n in ("experts", "before", "after", "routing", "preserves")}
        return {**plain, "units": self.units.data(store)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        return cls(**{**data, "units": AxisMap.from_data(data["units"], arrays)})
