"""Dimensions that have to be asked for together with those that can't grow by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from itertools import islice, takewhile

from net2net.analysis import Analysis

_MAX_ATTEMPTS = 16
_MAX_SINGLES = 8  # of these; the rest is for several at once


def partners(sizes: Mapping[str, int], analysis: Analysis, works: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """What has to be added to a request so that a network runs at its sizes; nothing if that isn't found.

    Tried are one more dimension, those nearby first, by the factor or to the size of one that is asked for; all
    dimensions of the same size; and all others by the factor, with and without those of one size (a number of heads
    beside the size of a head). Of what is found the sizes that it can do without are left out.
    """
    found = next((more for more in islice(_further(sizes, analysis), _MAX_ATTEMPTS) if works({**sizes, **more})), {})
    for group in _groups(found, analysis):
        fewer = {name: after for name, after in found.items() if name not in group}
        if fewer and works({**sizes, **fewer}):
            found = fewer
    return found


def _further(sizes: Mapping[str, int], analysis: Analysis) -> Iterator[dict[str, int]]:
    asked = [(name, analysis.dimensions[name].size, after) for name, after in sizes.items()]
    others = [d for d in analysis.growable() if d.name not in sizes]
    yield from islice(_singles(asked, {d.name: d.size for d in others}), _MAX_SINGLES)
    for _, size, after in asked:
        alike = {d.name: after for d in others if d.size == size}
        if len(alike) > 1:
            yield alike
    for factor in dict.fromkeys(Fraction(after, size) for _, size, after in asked):
        every = {d.name: int(d.size * factor) for d in others if (d.size * factor).denominator == 1}
        groups = _groups(every, analysis)
        yield every
        for group in groups if len(groups) > 1 else ():
            yield {name: after for name, after in every.items() if name not in group}


def _singles(asked: list[tuple[str, int, int]], others: Mapping[str, int]) -> Iterator[dict[str, int]]:
    def nearness(name: str) -> int:
        """How many characters two names begin with alike."""
        pairs = [zip(name, other, strict=False) for other, _, _ in asked]
        return max(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], alike)) for alike in pairs)

    for name in sorted(others, key=lambda name: -nearness(name)):
        for after in dict.fromkeys(after for _, size, after in asked if size == others[name]):
            yield {name: after}
        for after in dict.fromkeys(others[name] * after // size for _, size, after in asked if size != others[name]):
            if after > others[name]:
                yield {name: after}


def _groups(names: Mapping[str, int], analysis: Analysis) -> list[set[str]]:
    """The names of dimensions, those of one size together."""
    found: dict[int, set[str]] = {}
    for name in names:
        found.setdefault(analysis.dimensions[name].size, set()).add(name)
    return list(found.values())
