"""Numbers of an experiment as readers see them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from net2net.experiments._statistics import Interval, Reach

NONE = "–"  # noqa: RUF001


def score(value: Interval, metric: str) -> str:
    """A score with its interval: per cent, or nats.

    Example:
        >>> score(Interval(0.8512, 0.0041), "accuracy"), score(Interval(1.41, float("nan")), "loss")
        ('85.1 ± 0.4 %', '1.410')
    """
    if math.isnan(value.mean):
        return "diverged"
    if metric == "accuracy":
        return f"{100 * value.mean:.1f}{_half(100 * value.half, 1)} %"
    return f"{value.mean:.3f}{_half(value.half, 3)}"


def lead(difference: Interval, metric: str) -> str:
    """A difference of scores with its interval: points of a per cent, or nats; better is positive.

    Example:
        >>> lead(Interval(0.0123, 0.004), "accuracy"), lead(Interval(0.0123, 0.004), "loss")
        ('+1.2 ± 0.4', '+0.012 ± 0.004')
    """
    if math.isnan(difference.mean):
        return "diverged"
    scale, digits = _scale(metric)
    return _minus(f"{scale * difference.mean:+.{digits}f}{_half(scale * difference.half, digits)}")


def fall(lowest: float, metric: str) -> str:
    """How far below its start a score fell (`lowest` is not above 0).

    Example:
        >>> fall(-0.0123, "accuracy"), fall(0.0, "loss")
        ('1.2', '0')
    """
    if math.isinf(lowest):
        return "diverged"
    scale, digits = _scale(metric)
    return f"{-scale * lowest:.{digits}f}" if lowest else "0"


def ratio(reach: Reach) -> str:
    """A ratio with its interval, or how many of the seeds got there, and those at what.

    Example:
        >>> inf = float("inf")
        >>> ratio(Reach((0.4, 0.5))), ratio(Reach((0.4, inf))), ratio(Reach((inf, inf)))
        ('0.45 ± 0.64', '0.40 (1 of 2 seeds)', 'not reached')
    """
    found = reach.interval
    if found is not None:
        return f"{found.mean:.2f}{_half(found.half, 2)}"
    there = [r for r in reach.ratios if math.isfinite(r)]
    if not there:
        return "not reached"
    return f"{sum(there) / len(there):.2f} ({len(there)} of {len(reach.ratios)} seeds)"


def part(budget: float) -> str:
    """A budget: as a fraction if it is a power of two.

    Example:
        >>> part(0.125), part(1.0), part(1.4493)
        ('1/8', '1', '1.45')
    """
    return str(Fraction(budget)) if math.frexp(budget)[0] == 0.5 else f"{budget:.2f}"


def joined(parts: Iterable[str]) -> str:
    """An enumeration.

    Example:
        >>> joined(["a", "b", "c"]), joined(["a"])
        ('a, b and c', 'a')
    """
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last


def short(label: str) -> str:
    """A label without what explains it, for the middle of a sentence."""
    return label.partition(" (")[0]


def _scale(metric: str) -> tuple[int, int]:
    return (100, 1) if metric == "accuracy" else (1, 3)


def _half(half: float, digits: int) -> str:
    return "" if math.isnan(half) else f" ± {half:.{digits}f}"


def _minus(text: str) -> str:
    return text.replace("-", "−")  # noqa: RUF001
