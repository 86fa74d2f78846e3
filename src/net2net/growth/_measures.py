"""What a report says of copies in a student as it is now, for the changes that systems register."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from net2net.capture import Inputs
from net2net.plan import Change, Plan

# The changes of one kind, the student and its inputs -> a table; empty for nothing.
Measure = Callable[[Sequence[Change], nn.Module, Inputs], str]

_MEASURES: dict[str, Measure] = {}


def measures(change: str) -> Callable[[Measure], Measure]:
    """Register what measures, in a student, what changes of this kind have made."""

    def register(function: Measure) -> Measure:
        _MEASURES[change] = function
        return function

    return register


def measured(plan: Plan, student: nn.Module, inputs: Inputs) -> list[str]:
    """The tables of what the changes of a plan have made, as it is now."""
    kinds: dict[str, list[Change]] = {}
    for step in plan.steps:
        for change in step.changes:
            kinds.setdefault(change.change, []).append(change)
    tables = (_MEASURES[kind](changes, student, inputs) for kind, changes in kinds.items() if kind in _MEASURES)
    return [text for text in tables if text]
