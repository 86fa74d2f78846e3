"""A growth as data: for every tensor of the student, where each entry comes from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from net2net.plan._changes import Deepening, Preservation, Widening
from net2net.plan._tensor_plan import TensorPlan

_PROMISES = ("exact", "approximate", "none")


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
        from net2net.plan._table import plan_table

        return plan_table(self)
