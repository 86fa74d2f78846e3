"""What a chain has cost, model by model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from net2net.report import table


@dataclass(frozen=True)
class Entry:
    """One model of a chain, trained.

    Attributes:
        name: of the model.
        init: how it began: "exact", "overlay", "scratch".
        preserves: what the growth promises: "exact", "approximate", "none"; "" without a teacher.
        error: relative error against the teacher before the first step; None without a teacher.
        parameters: of the model.
        steps: that it was given.
        passes: forward passes with gradients that it made.
        flops: of these and their backward passes.
        teacher_flops: of the teacher's forward passes.
        evaluation_flops: of the model's passes without gradients; not in the total.
        seconds: of wall time, evaluation included.
        score: what the user's function returned.
    """

    name: str
    init: str
    preserves: str
    error: float | None
    parameters: int
    steps: int
    passes: int
    flops: int
    teacher_flops: int
    evaluation_flops: int
    seconds: float
    score: float

    @property
    def total(self) -> int:
        """FLOPs of its training, with the teacher's forward passes."""
        return self.flops + self.teacher_flops


@dataclass(frozen=True)
class Ledger:
    """All models that are trained so far, the smallest first."""

    entries: tuple[Entry, ...] = ()

    @property
    def flops(self) -> int:
        """Of the whole family: that is also what its largest model has cost."""
        return sum(entry.total for entry in self.entries)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """FLOPs until each model was finished: its own, and those of all before it."""
        return tuple(sum(e.total for e in self.entries[: n + 1]) for n in range(len(self.entries)))

    @property
    def seconds(self) -> float:
        """Wall time of the whole family."""
        return sum(entry.seconds for entry in self.entries)

    def as_json(self) -> list[dict[str, Any]]:
        """Plain data, and back with `Ledger.of`."""
        return [asdict(entry) for entry in self.entries]

    @staticmethod
    def of(entries: Sequence[dict[str, Any]]) -> Ledger:
        """The ledger that `as_json` wrote."""
        return Ledger(tuple(Entry(**entry) for entry in entries))

    def __str__(self) -> str:
        rows = [
            [e.name, e.init, "" if e.error is None else f"{e.error:.1e}", f"{e.parameters:,}", f"{e.passes:,}",
             f"{e.flops:.2e}", f"{e.teacher_flops:.2e}", f"{so_far:.2e}", f"{e.seconds:.0f}", f"{e.score:.4f}"]
            for e, so_far in zip(self.entries, self.cumulative, strict=True)
        ]  # fmt: skip
        headers = [
            "model",
            "began",
            "error",
            "parameters",
            "passes",
            "FLOPs",
            "teacher's",
            "so far",
            "seconds",
            "score",
        ]
        return table(headers, rows, right=range(2, 10))
