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
    """One mixture of the growth: its name, its sizes, how its experts are chosen, and which each one copies.

    `top_k` says how many experts compute a token, before and after; `uneven` that copies share out their output
    unevenly; `redrawn` is the share of the hidden units of new experts that is drawn anew; `together` that of the
    example tokens for which copies of one expert are chosen, where measured.
    """

    makes: ClassVar[str] = "of more experts"
    heading: ClassVar[str] = "mixture"
    listed: ClassVar[str] = "mixtures"
    alike: ClassVar[bool] = True

    experts: str
    before: int
    after: int
    routing: str
    units: AxisMap = field(repr=False)
    top_k: tuple[int, int] | None = None
    uneven: bool = False
    redrawn: float = 0.0
    together: float | None = None
    preserves: Preservation = "exact"

    @property
    def counts(self) -> tuple[int, ...]:
        """How often each expert of the teacher is there."""
        return tuple(np.bincount(self.units.source, minlength=self.before).tolist())

    def row(self) -> Row:
        """The change as a line of a table."""
        counts = self.counts
        how = f"{self.routing} routing"
        if self.top_k is not None and self.top_k[0] != self.top_k[1]:
            how += f", {self.top_k[0]} -> {self.top_k[1]} per token"
        how += f", {self.redrawn:.0%} of the units of new ones drawn anew" if self.redrawn else ""
        several = f" ({' '.join(map(str, counts))})" if len(set(counts)) > 1 and len(counts) <= 16 else ""
        return Row(self.experts, self.before, self.after, how + several)

    def why(self) -> str:
        """Why the change doesn't preserve the function."""
        if self.preserves == "exact":
            return ""
        if self.redrawn:
            return f"{self.redrawn:.0%} of the hidden units of new experts are drawn anew"
        text = "copies of one expert are chosen instead of different ones"
        return text if self.together is None else f"{text} for {self.together:.1%} of the tokens of {self.experts}"

    def bound_to(self) -> str:
        """Why the change can't be replayed on another network."""
        if self.routing != "released":
            return ""
        return "a plan of release_routing holds the rows of one network's router; release each by itself."

    def symmetry(self) -> str:
        """What parts the copies of an expert."""
        if self.redrawn:
            return "new experts differ from what they copy in the units that are drawn anew"
        if self.routing == "replica":
            return "replicas of an expert are equal, and training parts them: each has tokens of its own"
        if self.routing in ("free", "released"):
            return "copies of an expert differ in the router: they part where it chooses one and not the other"
        if self.uneven:
            return "copies of an expert have unequal shares of its output: training parts them"
        return "copies of an expert get the same tokens and the same gradients: they stay twins"

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        sizes = {"name": self.experts, "from": self.before, "to": self.after}
        rest = {"top_k": self.top_k, "redrawn": self.redrawn, "together": self.together}
        return {**sizes, "routing": self.routing, "counts": list(self.counts), **rest}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        names = ("experts", "before", "after", "routing", "top_k", "uneven", "redrawn", "together", "preserves")
        return {**{n: getattr(self, n) for n in names}, "units": self.units.data(store)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        top_k = None if data["top_k"] is None else tuple(data["top_k"])
        return cls(**{**data, "top_k": top_k, "units": AxisMap.from_data(data["units"], arrays)})
