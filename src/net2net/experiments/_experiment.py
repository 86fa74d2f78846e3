"""An experiment as data: a teacher, bigger networks, and the ways to start each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from net2net.experiments._results import TEACHER


@dataclass(frozen=True)
class Arm:
    """One way to start a bigger network.

    Attributes:
        key: its name in the results, one of its own.
        label: its name for readers.
        kind: "grow" (from the teacher, with the optimizer's state), "zero_rows" (G_zero as published), "scratch", or
            "continue" (the teacher itself trains on).
        options: of `transfer` or `deepen`, for "grow".
    """

    key: str
    label: str
    kind: str = "grow"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Group:
    """A bigger network and its arms.

    Attributes:
        name: of the bigger network.
        shape: its sizes.
        arms: ways to start it.
        where: the places that get identity layers, as for `deepen`; without it `transfer` finds what grew.
        kernel: of the identity layers.
    """

    name: str
    shape: Any
    arms: tuple[Arm, ...]
    where: Mapping[str, Any] | None = None
    kernel: Any = None


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    Attributes:
        name, title: for the results.
        teacher: the small network's sizes.
        groups: the bigger networks.
        steps: of a bigger network from scratch at budget 1.
        teacher_budget: the teacher's steps as a fraction of these.
        teacher_decays: whether the teacher's own schedule ends at zero; if not, growth happens in the middle of a run.
        budgets: of the grown networks, as fractions of the steps from scratch.
        choice_budgets: at which learning rates are chosen; a run has the one of the largest that isn't above its own.
        rates: to choose from.
    """

    name: str
    title: str
    teacher: Any
    groups: tuple[Group, ...]
    steps: int
    rates: tuple[float, ...]
    teacher_budget: float = 1.0
    teacher_decays: bool = True
    budgets: tuple[float, ...] = (0.125, 0.25, 0.5, 1.0)
    choice_budgets: tuple[float, ...] = (0.125, 0.5)

    def arms(self) -> Iterator[tuple[Group, Arm]]:
        """Every arm with its group, the teacher not among them."""
        for group in self.groups:
            for arm in group.arms:
                yield group, arm

    def find(self, key: str) -> tuple[Group, Arm] | tuple[None, None]:
        """An arm and its group by its key; two times None for the teacher."""
        return next(((group, arm) for group, arm in self.arms() if arm.key == key), (None, None))

    def labels(self) -> dict[str, str]:
        """Key -> label of all arms, the teacher's last."""
        return {arm.key: arm.label for _, arm in self.arms()} | {TEACHER: "Teacher"}
