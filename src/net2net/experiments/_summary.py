"""What the results of an experiment say, as data: everything that tables, figures and the page show."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from net2net.experiments._plan import choice_scores, chosen_rate
from net2net.experiments._results import CONTINUED, SCRATCH, TEACHER, Header, Results, Run
from net2net.experiments._statistics import Interval, Reach, crossing, interval, paired


@dataclass(frozen=True)
class Reference:
    """What others are measured by: random initialisation, or the teacher, at one budget; per seed or for all of them.

    `flops` and `seconds` are those of the whole run.
    """

    budget: float
    score: Interval
    steps: int
    flops: float
    seconds: float


@dataclass(frozen=True)
class Versus:
    """An arm against a reference: the lead of its final score, and what it takes to reach the reference's.

    Attributes:
        lead: the final score at the longest budget minus the reference's, seed by seed; better is positive.
        steps, flops, seconds: to the reference's mean final score, relative to what the reference took; teacher free.
        flops_counted, seconds_counted: with the teacher's training added.
    """

    lead: Interval
    steps: Reach
    flops: Reach
    flops_counted: Reach
    seconds: Reach
    seconds_counted: Reach


@dataclass(frozen=True)
class Choice:
    """How an arm chose its learning rate for runs of a budget or more: rate -> score, and the best rate."""

    budget: float
    scores: Mapping[float, float]
    best: float | None


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a group.

    Attributes:
        key, label: of the arm.
        parameters: of its network.
        step_flops, step_seconds: of one training step; the seconds are the median of all runs of its network.
        rates: budget -> learning rate.
        choices: how they were chosen.
        error: the largest relative error against the teacher at step 0; None where there is no teacher.
        start: the score at step 0.
        ends: budget -> score at the end.
        leads: budget -> score minus that of scratch after as many steps, seed by seed; better is positive.
        lowest: the worst score, relative to the start, while the longest runs train (0 if it never falls below).
        scratch, equal: against random initialisation at budget 1 and at equal compute; None for scratch itself.
        to_continued: the final score minus that of the teacher that trained on for the same FLOPs, if there is one.
        tied: the best arm that grew (at the longest budget), or within the interval of its difference to it; None for
            other arms, and where a single seed can't tell.
    """

    key: str
    label: str
    parameters: int
    step_flops: float
    step_seconds: float
    rates: Mapping[float, float]
    choices: tuple[Choice, ...]
    error: float | None
    start: Interval
    ends: Mapping[float, Interval]
    leads: Mapping[float, Interval]
    lowest: float
    scratch: Versus | None
    equal: Versus | None
    to_continued: Interval | None
    tied: bool | None = None


@dataclass(frozen=True)
class GroupSummary:
    """A bigger network: its arms, and what they are measured by.

    Attributes:
        name: of the bigger network.
        scratch, equal: random initialisation at budget 1, and with the FLOPs of teacher and longest student together.
        teacher: what the students started from.
        arms: those that are finished, in the order of the header.
    """

    name: str
    scratch: Reference
    equal: Reference
    teacher: Reference
    arms: tuple[ArmSummary, ...]

    @property
    def teacher_share(self) -> float:
        """The teacher's FLOPs, relative to those of scratch at budget 1."""
        return self.teacher.flops / self.scratch.flops

    @property
    def best(self) -> list[ArmSummary]:
        """The arms that grew, the best final score first; diverged ones last."""
        return sorted((arm for arm in self.arms if is_grown(arm.key)), key=_lead, reverse=True)


@dataclass(frozen=True)
class Summary:
    """All groups that can be compared; `missing` are the unfinished arms and how many of the seeds each has."""

    header: Header
    groups: tuple[GroupSummary, ...]
    missing: Mapping[str, int]

    def as_json(self) -> dict[str, Any]:
        """Plain data; infinite and undefined numbers are None."""
        found: dict[str, Any] = _plain(self)
        return found


def is_grown(key: str) -> bool:
    """Whether an arm is a way to grow, and not one to compare with."""
    return not key.startswith((SCRATCH, CONTINUED, TEACHER))


def summarise(results: Results) -> Summary:
    """Everything that tables, figures and the page say about an experiment.

    Args:
        results: finished or not: an arm counts when all of its seeds are there, a group when its scratch and the
            teacher are; the rest is named in `missing`.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    header = results.header
    seeds = {key: _finished_seeds(results, key) for key in header.arms}
    missing = {key: count for key, count in seeds.items() if count < len(header.seeds)}
    groups = []
    for name, keys in header.groups.items():
        there = [key for key in keys if key not in missing]
        scratch = next((key for key in there if key.startswith(SCRATCH)), None)
        if scratch is not None and TEACHER not in missing:
            groups.append(_group(results, name, there, scratch))
    return Summary(header, tuple(groups), missing)


def longest(results: Results, key: str) -> list[Run]:
    """The runs of an arm at the longest budget of all arms that grow; those of continued at the only one there is."""
    at_end = _at(results, key, max(results.header.budgets))
    return at_end or _at(results, key, max(run.budget for run in results.final(key)))


def equal_runs(results: Results, scratch: str) -> list[Run]:
    """The runs of scratch whose FLOPs are those of teacher and longest student together."""
    teacher, run = results.final(TEACHER)[0], results.final(scratch, 1.0)[0]
    wanted = max(results.header.budgets) + teacher.steps * teacher.flops / (run.flops * run.steps)
    return _at(results, scratch, min({r.budget for r in results.final(scratch)}, key=lambda b: abs(b - wanted)))


def _at(results: Results, key: str, budget: float | None = None) -> list[Run]:
    """Reported runs; the teacher has one more, for the runs that choose learning rates."""
    return [run for run in results.final(key, budget) if run.seed in results.header.seeds]


def _finished_seeds(results: Results, key: str) -> int:
    header = results.header
    runs = _at(results, key)
    if not runs:
        return 0
    budgets = {run.budget for run in runs}  # of the teacher, of continued and of equal compute: whatever there is
    if key.startswith(SCRATCH):
        budgets |= {*header.budgets, 1.0}
    elif is_grown(key):
        budgets |= set(header.budgets)
    return sum(all(any(r.seed == seed for r in _at(results, key, b)) for b in budgets) for seed in header.seeds)


def _group(results: Results, name: str, keys: list[str], scratch: str) -> GroupSummary:
    header = results.header
    at_one, equal, teachers = _at(results, scratch, 1.0), equal_runs(results, scratch), _at(results, TEACHER)
    first, second, teacher = (_reference(runs, results) for runs in (at_one, equal, teachers))
    group = GroupSummary(name, first, second, teacher, ())
    arms = [_arm(results, key, group, keys, scratch) for key in keys]
    best = max((arm for arm in arms if is_grown(arm.key)), key=_lead, default=None)
    if best is None or len(header.seeds) < 2:
        return replace(group, arms=tuple(arms))
    top = _scores(longest(results, best.key), header.metric)

    def tied(key: str) -> bool:
        return key == best.key or paired(_scores(longest(results, key), header.metric), top).sign == 0

    marked = (replace(arm, tied=tied(arm.key)) if is_grown(arm.key) else arm for arm in arms)
    return replace(group, arms=tuple(marked))


def _reference(runs: list[Run], results: Results) -> Reference:
    metric, first = results.header.metric, runs[0]
    seconds = _seconds(results, first)
    score = interval([run.score(metric) for run in runs])
    return Reference(first.budget, score, first.steps, first.steps * first.flops, first.steps * seconds)


def _arm(results: Results, key: str, group: GroupSummary, keys: list[str], scratch: str) -> ArmSummary:
    header, metric = results.header, results.header.metric
    runs = _at(results, key)
    last = longest(results, key)
    sign = _sign(metric)
    ours = _scores(last, metric)

    def lead(others: list[Run], mine: Mapping[int, float] = ours) -> Interval:
        return paired(mine, _scores(others, metric))

    def versus(others: list[Run], reference: Reference) -> Versus | None:
        if key == scratch:
            return None
        return _versus(runs, lead(others), reference, group.teacher, results)

    continued = next((k for k in keys if k.startswith(CONTINUED)), None)
    same = {b: _at(results, scratch, b) for b in header.budgets} if is_grown(key) else {}
    errors = [run.error for run in runs if run.error is not None]
    # The first and the last point are on all validation examples, those between on a part: a small fall means nothing.
    falls = [sign * (_value(p, metric) - _value(run.points[0], metric)) for run in last for p in run.points[:-1]]
    lowest = min((fall if math.isfinite(fall) else -math.inf for fall in falls), default=0.0)
    return ArmSummary(
        key=key,
        label=header.arms[key],
        parameters=runs[0].parameters,
        step_flops=runs[0].flops,
        step_seconds=_seconds(results, runs[0]),
        rates={run.budget: run.rate for run in runs},
        choices=tuple(
            Choice(budget, choice_scores(results, key, budget), chosen_rate(results, key, budget))
            for budget in header.choice_budgets
        ),
        error=max(errors, default=None),
        start=interval([_value(run.points[0], metric) for run in last]),
        ends={b: interval([r.score(metric) for r in _at(results, key, b)]) for b in sorted({r.budget for r in runs})},
        leads={b: lead(others, _scores(_at(results, key, b), metric)) for b, others in same.items()},
        lowest=lowest,
        scratch=versus(_at(results, scratch, 1.0), group.scratch),
        equal=versus(equal_runs(results, scratch), group.equal),
        to_continued=lead(longest(results, continued)) if continued and is_grown(key) else None,
    )


def _versus(runs: list[Run], lead: Interval, reference: Reference, teacher: Reference, results: Results) -> Versus:
    metric = results.header.metric
    sign, each = _sign(metric), _seconds(results, runs[0])
    steps = []
    for seed in results.header.seeds:
        mine = [run for run in runs if run.seed == seed]
        scores = (_value(mine[0].points[0], metric), *(run.score(metric) for run in mine))
        steps.append(crossing([0.0, *(r.steps for r in mine)], [sign * s for s in scores], sign * reference.score.mean))

    def reach(cost: float, whole: float, before: float = 0.0) -> Reach:
        return Reach(tuple((before + s * cost) / whole for s in steps))

    return Versus(
        lead=lead,
        steps=reach(1.0, reference.steps),
        flops=reach(runs[0].flops, reference.flops),
        flops_counted=reach(runs[0].flops, reference.flops, teacher.flops),
        seconds=reach(each, reference.seconds),
        seconds_counted=reach(each, reference.seconds, teacher.seconds),
    )


def _lead(arm: ArmSummary) -> float:
    mean = math.nan if arm.scratch is None else arm.scratch.lead.mean
    return -math.inf if math.isnan(mean) else mean


def _scores(runs: list[Run], metric: str) -> dict[int, float]:
    """Seed -> final score; higher is better."""
    return {run.seed: _sign(metric) * run.score(metric) for run in runs}


def _sign(metric: str) -> int:
    return 1 if metric == "accuracy" else -1


def _value(point: Any, metric: str) -> float:
    found: float = getattr(point, metric)
    return found


def _seconds(results: Results, network: Run) -> float:
    """Of a step: the median of all runs of the same network, since arms don't differ in it, but measurements do."""
    same = (run for run in results.runs if (run.flops, run.parameters) == (network.flops, network.parameters))
    return statistics.median(run.seconds for run in same)


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
