"""Which runs an experiment needs, what they take, and which of them can be done now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from net2net.experiments._experiment import Arm, Experiment, Group
from net2net.experiments._results import TEACHER, Results

# Learning rates are chosen with a seed that is not reported.
CHOICE_SEED = 1000


@dataclass(frozen=True)
class Job:
    """Runs of one arm and seed: they start from the same network, which is made once.

    Attributes:
        arm, phase, seed: as in `Run`.
        runs: pairs of a budget and a learning rate; a rate that isn't chosen yet is NaN.
        teacher: the seed of the teacher that it starts from, or None.
    """

    arm: str
    phase: str
    seed: int
    runs: tuple[tuple[float, float], ...]
    teacher: int | None = None

    @property
    def keys(self) -> set[tuple[str, float, str, float, int]]:
        """Those of the runs that it leaves, as in `Run.key`."""
        return {(self.arm, round(budget, 6), self.phase, rate, self.seed) for budget, rate in self.runs}


@dataclass(frozen=True)
class Costs:
    """What runs take; `flops` are those of a training step of the teacher ("teacher") and of each group's network."""

    experiment: Experiment
    flops: Mapping[str, float]

    def of_step(self, group: Group | None, arm: Arm | None) -> float:
        """FLOPs of a training step of an arm's network; of the teacher's without an arm."""
        if group is None or arm is None or arm.kind == "continue":
            return self.flops[TEACHER]
        return self.flops[group.name]

    def steps(self, group: Group | None, arm: Arm | None, budget: float) -> int:
        """Steps of a run; a continued teacher gets as many of its cheaper steps as take the same FLOPs."""
        if group is not None:
            budget *= self.flops[group.name] / self.of_step(group, arm)
        return max(1, round(budget * self.experiment.steps))

    def budgets(self, group: Group, arm: Arm) -> tuple[float, ...]:
        """The budgets at which an arm is reported.

        From scratch one more is: what the teacher and the longest student take together.
        """
        longest = max(self.experiment.budgets)
        if arm.kind == "continue":
            return (longest,)
        if arm.kind != "scratch":
            return self.experiment.budgets
        equal = longest + self.experiment.teacher_budget * self.flops[TEACHER] / self.flops[group.name]
        return tuple(sorted({*self.experiment.budgets, 1.0, equal}))

    def of(self, job: Job) -> float:
        """FLOPs of all runs of a job."""
        group, arm = self.experiment.find(job.arm)
        return sum(self.steps(group, arm, budget) for budget, _ in job.runs) * self.of_step(group, arm)


def jobs(experiment: Experiment, seeds: tuple[int, ...], costs: Costs, results: Results) -> Iterator[Job]:
    """All jobs of an experiment; the learning rates are those that the results choose."""

    def choice(*budgets: float) -> tuple[tuple[float, float], ...]:
        return tuple(product(budgets, experiment.rates))

    def final(arm: str, budgets: tuple[float, ...]) -> tuple[tuple[float, float], ...]:
        rates = [chosen_rate(results, arm, budget) for budget in budgets]
        return tuple((b, math.nan if rate is None else rate) for b, rate in zip(budgets, rates, strict=True))

    yield Job(TEACHER, "choice", CHOICE_SEED, choice(experiment.teacher_budget))
    for seed in (CHOICE_SEED, *seeds):
        yield Job(TEACHER, "final", seed, final(TEACHER, (experiment.teacher_budget,)))
    for group, arm in experiment.arms():
        grows = arm.kind != "scratch"
        yield Job(arm.key, "choice", CHOICE_SEED, choice(*experiment.choice_budgets), CHOICE_SEED if grows else None)
        for seed in seeds:
            yield Job(arm.key, "final", seed, final(arm.key, costs.budgets(group, arm)), seed if grows else None)


def ready(job: Job, finished: set[tuple[str, float, str, float, int]]) -> bool:
    """Whether a job is still to be done and everything that it needs is there."""
    teachers = {seed for arm, _, phase, _, seed in finished if arm == TEACHER and phase == "final"}
    known = not any(math.isnan(rate) for _, rate in job.runs)
    return known and (job.teacher is None or job.teacher in teachers) and not job.keys <= finished


def choice_scores(results: Results, arm: str, budget: float) -> dict[float, float]:
    """What the rates scored when an arm chose the one for a budget: those of the runs that are finished."""
    header = results.header
    budgets = (budget,) if arm == TEACHER else header.choice_budgets
    at = max((b for b in budgets if b <= budget), default=min(budgets))
    runs = [run for run in results.runs if run.arm == arm and run.phase == "choice" and abs(run.budget - at) < 1e-6]
    return {run.rate: run.score(header.metric) for run in runs}


def chosen_rate(results: Results, arm: str, budget: float) -> float | None:
    """The rate with the best score among an arm's choice runs for a budget; None until all of them are there."""
    scores = choice_scores(results, arm, budget)
    if set(scores) != set(results.header.rates):
        return None
    sign = 1 if results.header.metric == "accuracy" else -1
    return max(scores, key=lambda rate: sign * scores[rate] if math.isfinite(scores[rate]) else -math.inf)
