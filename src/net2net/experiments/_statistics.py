"""Means over seeds with intervals, and how much training a score takes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from net2net.errors import MissingExtraError

_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over the seeds, and half the width of its 95 % t-interval (NaN for a single seed).

    Both are NaN if a run diverged.
    """

    mean: float
    half: float

    @property
    def low(self) -> float:
        """Where the interval begins; the mean, for a single seed."""
        return self.mean - (0.0 if math.isnan(self.half) else self.half)

    @property
    def high(self) -> float:
        """Where the interval ends; the mean, for a single seed."""
        return self.mean + (0.0 if math.isnan(self.half) else self.half)

    @property
    def sign(self) -> int:
        """1 or -1 if the interval lies above or below 0; 0 if it reaches across, and for a single seed."""
        if not abs(self.mean) > self.half:
            return 0
        return 1 if self.mean > 0 else -1

    def __str__(self) -> str:
        return f"{self.mean:.4g}" if math.isnan(self.half) else f"{self.mean:.4g} ± {self.half:.2g}"


@dataclass(frozen=True)
class Reach:
    """What it takes to reach a score, for each seed, relative to what a reference took.

    `ratios` are infinite where a seed didn't get there within its largest budget.
    """

    ratios: tuple[float, ...]

    @property
    def reached(self) -> int:
        """How many of the seeds got there."""
        return sum(math.isfinite(r) for r in self.ratios)

    @property
    def interval(self) -> Interval | None:
        """Over all seeds; None if one of them didn't get there: a mean without it would flatter."""
        return interval(self.ratios) if self.ratios and self.reached == len(self.ratios) else None

    def __str__(self) -> str:
        found = self.interval
        return str(found) if found is not None else f"reached by {self.reached} of {len(self.ratios)} seeds"


def crossing(budgets: Sequence[float], scores: Sequence[float], target: float) -> float:
    """The budget at which a score that rises with the budget first reaches a target; infinite if it doesn't.

    Between two budgets the score is a line over the logarithm of the budget, from budget 0 a line over the budget. A
    score that isn't finite (the run diverged) reaches nothing, and the next budget counts whole.

    Args:
        budgets: increasing; the first may be 0.
        scores: at these budgets, higher is better.
        target: the score to reach.

    Example:
        >>> crossing([0, 0.25, 0.5, 1], [0.1, 0.5, 0.7, 0.8], 0.6)  # half-way between 1/4 and 1/2, in logarithms
        0.3535...
        >>> crossing([0, 0.25, 0.5, 1], [0.1, 0.5, 0.7, 0.8], 0.9)
        inf
    """
    if scores[0] >= target:
        return budgets[0]
    for (left, low), (right, high) in itertools.pairwise(zip(budgets, scores, strict=True)):
        if high >= target:
            part = (target - low) / (high - low) if math.isfinite(low) and math.isfinite(high) else 1.0
            return part * right if left == 0 else left * (right / left) ** part
    return math.inf


def interval(values: Sequence[float]) -> Interval:
    """The mean of some seeds with its 95 % t-interval.

    Raises:
        MissingExtraError: scipy is not installed.

    Example:
        >>> print(interval([1.0, 2.0, 3.0]))
        2 ± 2.5
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingExtraError("intervals need scipy: install net2net[experiments].") from error
    if not all(map(math.isfinite, values)):
        return Interval(math.nan, math.nan)
    mean, count = statistics.fmean(values), len(values)
    if count < 2:
        return Interval(mean, math.nan)
    quantile = float(stats.t.ppf(0.5 + _LEVEL / 2, count - 1))
    return Interval(mean, quantile * statistics.stdev(values) / math.sqrt(count))


def paired(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Interval:
    """The difference of two scores, seed by seed: of the same seed both had the same teacher and the same batches.

    Example:
        >>> print(paired({1: 0.8, 2: 0.9}, {1: 0.7, 2: 0.8}))  # seeds differ by more than the two do
        0.1 ± ...
    """
    return interval([score - theirs[seed] for seed, score in ours.items()])
