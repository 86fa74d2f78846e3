"""What a search has found."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn
from torch.optim import Optimizer

from net2net.errors import GrowthError
from net2net.exploration._baselines import Baseline, baselines, run_baselines
from net2net.exploration._search import Search
from net2net.exploration._tried import Tried, front, grown_in_words, lineage
from net2net.plan import Plan
from net2net.report import table


@dataclass(frozen=True, eq=False)
class Best:
    """The network of a trial: its model and optimizer, its score, and all growths since the teacher.

    `growths` are keyword arguments of `net2net.grow`, or "experts" of `net2net.upcycle`, one after the other; between
    them the networks were trained.
    `folder` has the model and the plan.
    """

    trial: Tried
    growths: tuple[dict[str, dict[str, int]], ...]
    model: nn.Module = field(repr=False)
    optimizer: Optimizer = field(repr=False)
    plan: Plan | None = field(repr=False)
    score: float
    folder: Path


@dataclass(frozen=True, eq=False)
class Exploration:
    """A search, as it is in its storage: `study` is Optuna's. Printing it gives a table of the trials.

    Raises:
        GrowthError: `best` is asked for, and no trial was trained within the limits.
    """

    search: Search = field(repr=False)

    @property
    def study(self) -> Any:
        """The study, as Optuna has it: for its own plots, and the dashboard."""
        return self.search.study

    @cached_property
    def trials(self) -> tuple[Tried, ...]:
        """All trials, refused and failed ones too."""
        return tuple(self.search.trials())

    @cached_property
    def best(self) -> Best:
        """The trial with the best score, within the limits."""
        found = self.search.allowed(self.trials)
        if not found:
            reasons = "; ".join(dict.fromkeys(t.reason for t in self.trials if t.reason)) or "none has run"
            raise GrowthError(f"no trial was trained within the limits: {reasons}.")
        return self.network(found[0])

    @property
    def front(self) -> tuple[Tried, ...]:
        """The trials that no other one beats in score and operations for a sample together, the cheapest first."""
        return front(self.search.allowed(self.trials), self.search.sign)

    def lineage(self, trial: Tried) -> tuple[Tried, ...]:
        """A trial's ancestors and itself, the one that was grown from the teacher first."""
        return lineage(trial, {t.number: t for t in self.trials})

    def network(self, trial: Tried) -> Best:
        """The network of a trial.

        Raises:
            GrowthError: it wasn't trained, or isn't kept any more.
        """
        search = self.search
        if trial.score is None or not search.models.has(trial.model):
            raise GrowthError(
                f"the network of trial {trial.number} isn't there: {trial.outcome}, or not among the best."
            )
        found = search.models.load(trial.model, trial.architecture)
        growths = tuple(growth for one in self.lineage(trial) for growth in one.growths)
        folder = search.models.folder / trial.model
        return Best(trial, growths, found.model, found.optimizer, found.plan, trial.score, folder)

    @property
    def baselines(self) -> tuple[Baseline, ...]:
        """What networks scored that trained as long as the best trials without growing: see `run_baselines`."""
        return baselines(self.search)

    def run_baselines(self, best: int = 1, *, teacher_compute: float = 0.0) -> tuple[Baseline, ...]:
        """Train what the best trials are to be compared with, by the same loop and for as many operations.

        For each: a twin with random weights, and the teacher, which trains on without growing. What has been run
        already isn't run again.

        Args:
            best: how many of the best trials.
            teacher_compute: floating-point operations that the teacher's own training took, which random twins get on
                top; 0 where a teacher is there anyway.

        Returns:
            All baselines.
        """
        run_baselines(self.search, best, teacher_compute)
        return self.baselines

    def __str__(self) -> str:
        rows = [
            [
                str(t.number),
                "teacher" if t.parent is None else str(t.parent),
                grown_in_words(t),
                "" if t.score is None else f"{t.score:.5g}",
                f"{t.cost.parameters:,}" if t.cost else "",
                f"{t.compute:.3g}" if t.compute else "",
                t.outcome + (f": {t.reason}" if t.reason else ""),
            ]
            for t in self.trials
        ]
        return table(["trial", "of", "grown", "score", "parameters", "FLOPs", ""], rows, right=(0, 1, 3, 4, 5))
