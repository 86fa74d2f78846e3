"""What the results of an experiment say: means with intervals, and how much training an arm needs for a score."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._plan import chosen_rate
from net2net.experiments._results import TEACHER, Header, Results, Run

_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over the seeds, and half the width of its 95 % t-interval (NaN for a single seed)."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if math.isnan(self.half) else f"{self.mean:.4g} ± {self.half:.2g}"


@dataclass(frozen=True)
class Reach:
    """What it takes to reach a score, for each seed, relative to random initialisation at budget 1.

    `ratios` are infinite where a seed didn't get there within its largest budget.
    """

    ratios: tuple[float, ...]

    @property
    def reached(self) -> int:
        """How many of the seeds got there."""
        return sum(math.isfinite(r) for r in self.ratios)

    @property
    def interval(self) -> Interval | None:
        """Over all seeds; None if one of them didn't get there."""
        return interval(self.ratios) if self.ratios and self.reached == len(self.ratios) else None

    def __str__(self) -> str:
        found = self.interval
        return str(found) if found is not None else f"reached by {self.reached} of {len(self.ratios)} seeds"


@dataclass(frozen=True)
class ArmSummary:
    """One arm of a group.

    Attributes:
        key, label: of the arm.
        rate: of learning, the best of those in `tried` (rate -> score of its choice run).
        error: the largest relative error against the teacher at step 0; None where there is no teacher.
        start: the score at step 0.
        ends: budget -> score at the end.
        lowest: the worst score, relative to the start, while the longest runs train (0 if it never falls below).
        steps, seconds: to scratch's score, relative to scratch's own; the teacher free.
        flops, flops_counted: the same in FLOPs, the teacher free and counted.
        to_scratch, to_equal: the final score at the longest budget minus that of scratch at budget 1 and at equal
            compute, seed by seed; better is positive.
    """

    key: str
    label: str
    rate: float
    tried: Mapping[float, float]
    error: float | None
    start: Interval
    ends: Mapping[float, Interval]
    lowest: float
    steps: Reach
    seconds: Reach
    flops: Reach
    flops_counted: Reach
    to_scratch: Interval
    to_equal: Interval


@dataclass(frozen=True)
class GroupSummary:
    """A bigger network: its arms, what the score of scratch is, and what the teacher took relative to scratch."""

    name: str
    target: Interval
    equal: Interval
    teacher: Interval
    teacher_flops: float
    arms: tuple[ArmSummary, ...]

    @property
    def best(self) -> list[ArmSummary]:
        """The arms that grew, the best final score first."""
        grown = [arm for arm in self.arms if is_grown(arm.key)]
        return sorted(grown, key=lambda arm: arm.to_scratch.mean, reverse=True)


@dataclass(frozen=True)
class Summary:
    """All groups; `missing` are the arms whose runs aren't finished."""

    header: Header
    groups: tuple[GroupSummary, ...]
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain data; infinite and undefined numbers are None."""
        found: dict[str, Any] = _plain(self)
        return found


def is_grown(key: str) -> bool:
    """Whether an arm is a way to grow, and not one to compare with."""
    return not key.startswith(("scratch", "continued", TEACHER))


def summarise(results: Results) -> Summary:
    """Everything that tables, figures and the page say about an experiment.

    Args:
        results: finished or not: what isn't there yet is named in `missing`.

    Raises:
        MissingExtraError: scipy is not installed.
    """
    header = results.header
    complete = {arm for arm in header.arms if _is_complete(results, arm)}
    groups = []
    for name, keys in header.groups.items():
        scratch = next((key for key in keys if key.startswith("scratch") and key in complete), None)
        if scratch is not None and TEACHER in complete:
            groups.append(_group(results, name, [key for key in keys if key in complete], scratch))
    return Summary(header, tuple(groups), tuple(arm for arm in header.arms if arm not in complete))


def crossing(budgets: Sequence[float], scores: Sequence[float], target: float) -> float:
    """The budget at which a score that rises with the budget first reaches a target; infinite if it doesn't.

    Between two budgets the score is a line over the logarithm of the budget, from budget 0 a line over the budget.

    Example:
        >>> crossing([0, 0.25, 0.5, 1], [0.1, 0.5, 0.7, 0.8], 0.6)  # half-way between 1/4 and 1/2, in logarithms
        0.3535...
    """
    points = list(zip(budgets, scores, strict=True))
    if points[0][1] >= target:
        return points[0][0]
    for (left, low), (right, high) in itertools.pairwise(points):
        if high >= target:
            part = (target - low) / (high - low)
            return part * right if left == 0 else left * (right / left) ** part
    return math.inf


def interval(values: Sequence[float]) -> Interval:
    """The mean of some seeds with its 95 % t-interval.

    Example:
        >>> print(interval([1.0, 2.0, 3.0]))
        2 ± 2.5
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("intervals need scipy: install net2net[experiments].") from error
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, math.nan)
    quantile = float(stats.t.ppf(0.5 + _LEVEL / 2, count - 1))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(count))


def _is_complete(results: Results, arm: str) -> bool:
    runs = results.final(arm)
    budgets = {round(run.budget, 6) for run in runs}
    return chosen_rate(results, arm) is not None and all(
        set(results.header.seeds) <= {run.seed for run in results.final(arm, budget)} for budget in budgets or {0.0}
    )


def _group(results: Results, name: str, keys: list[str], scratch: str) -> GroupSummary:
    header = results.header
    at_one = results.final(scratch, 1.0)
    equal = results.final(scratch, equal_budget(results, scratch))
    teachers = [run for run in results.final(TEACHER) if run.seed in header.seeds]
    share = teachers[0].steps * teachers[0].flops / (at_one[0].steps * at_one[0].flops)
    target = interval([run.score(header.metric) for run in at_one])
    arms = tuple(_arm(results, key, at_one, equal, share) for key in keys)
    scores = [interval([run.score(header.metric) for run in some]) for some in (equal, teachers)]
    return GroupSummary(name, target, scores[0], scores[1], share, arms)


def equal_budget(results: Results, scratch: str) -> float:
    """The budget of scratch that is none of the experiment's own: the one of equal compute."""
    others = {run.budget for run in results.final(scratch)} - {*results.header.budgets, 1.0}
    return max(others, default=1.0)


def _arm(results: Results, key: str, at_one: list[Run], equal: list[Run], share: float) -> ArmSummary:
    header = results.header
    sign = 1 if header.metric == "accuracy" else -1
    runs = results.final(key)
    budgets = sorted({run.budget for run in runs})
    longest = [run for run in runs if run.budget == max(b for b in budgets if b <= max(1.0, *header.budgets))]
    scratch = key.startswith("scratch")  # its own score at budget 1 is what the others are measured by
    if scratch:
        longest = at_one
    target = statistics.fmean(run.score(header.metric) for run in at_one)
    whole = at_one[0].steps * at_one[0].flops
    steps, flops, seconds = [], [], []
    for seed in header.seeds:
        mine = [run for run in runs if run.seed == seed]
        start = getattr(mine[0].points[0], header.metric)
        found = float(at_one[0].steps) if scratch else crossing(
            [0.0, *(run.steps for run in mine)], [sign * s for s in (start, *(r.score(header.metric) for r in mine))],
            sign * target,
        )  # fmt: skip
        steps.append(found / at_one[0].steps)
        flops.append(found * mine[0].flops / whole)
        seconds.append(found * mine[0].seconds / (at_one[0].steps * at_one[0].seconds))
    starts = [getattr(run.points[0], header.metric) for run in longest]
    falls = [
        sign * (getattr(point, header.metric) - start)
        for run, start in zip(longest, starts, strict=True)
        for point in run.points
    ]
    errors = [run.error for run in runs if run.error is not None]
    choice = {run.rate: run.score(header.metric) for run in results.runs if run.arm == key and run.phase == "choice"}
    return ArmSummary(
        key=key,
        label=header.arms[key],
        rate=runs[0].rate,
        tried=dict(sorted(choice.items(), reverse=True)),
        error=max(errors, default=None),
        start=interval(starts),
        ends={b: interval([r.score(header.metric) for r in runs if r.budget == b]) for b in budgets},
        lowest=min(falls),
        steps=Reach(tuple(steps)),
        seconds=Reach(tuple(seconds)),
        flops=Reach(tuple(flops)),
        flops_counted=Reach(tuple(f + (0.0 if scratch else share) for f in flops)),
        to_scratch=_difference(longest, at_one, header.metric, sign),
        to_equal=_difference(longest, equal, header.metric, sign),
    )


def _difference(runs: list[Run], others: list[Run], metric: str, sign: int) -> Interval:
    """Of the same seed: both saw the same batches."""
    theirs = {run.seed: run.score(metric) for run in others}
    return interval([sign * (run.score(metric) - theirs[run.seed]) for run in runs])


def _plain(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {name: _plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
