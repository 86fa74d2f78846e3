"""Other inputs and outputs, as a change of a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

from net2net.plan import Arrays, Change, Preservation, Row, Store, change
from net2net.surgeries._features import Features


@change("surgery")
@dataclass(frozen=True)
class Surgery(Change):
    """One input or output of the surgery: its name, its features before and after, and how new ones begin.

    `start` is how new entries begin, in words; `moved` is the largest part of the probability that new entries of
    logits get on the example inputs, where that was measured.
    """

    makes: ClassVar[str] = "of other inputs and outputs"
    heading: ClassVar[str] = "input or output"
    listed: ClassVar[str] = "surgeries"

    side: Literal["input", "output"]
    name: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    axis: int
    frames: int = 1
    constants: Mapping[str, float] = field(default_factory=dict)
    start: str | None = None
    moved: float | None = None
    preserves: Preservation = "exact"

    @property
    def features(self) -> Features:
        """What was asked for."""
        return Features(self.before, self.after, self.constants, None, self.axis, self.frames)

    def row(self) -> Row:
        """The change as a line of a table."""
        new = [name for name in self.after if name not in self.before]
        gone = [name for name in self.before if name not in self.after]
        said = [f"new {_listed(new)}{self._begin()}"] if new else []
        said += [f"without {_listed([self._constant(name) for name in gone])}"] if gone else []
        said += [] if new or gone else ["in another order"]
        sizes = len(self.before) * self.frames, len(self.after) * self.frames
        return Row(f"{self.side} {self.name}", *sizes, "; ".join(said))

    def _begin(self) -> str:
        text = "" if self.start is None else f": {self.start}"
        return text if self.moved is None else f"{text} ({self.moved:.1e} of the probability moves)"

    def _constant(self, name: str) -> str:
        return f"{name} (= {self.constants[name]:g})" if name in self.constants else name

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        names = ("side", "name", "axis", "frames", "start", "moved")
        plain = {name: getattr(self, name) for name in names}
        return {**plain, "from": list(self.before), "to": list(self.after), "constants": dict(self.constants)}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        names = ("side", "name", "before", "after", "axis", "frames", "start", "moved", "preserves")
        return {**{name: getattr(self, name) for name in names}, "constants": dict(self.constants)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        return cls(**{**data, "before": tuple(data["before"]), "after": tuple(data["after"])})


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
