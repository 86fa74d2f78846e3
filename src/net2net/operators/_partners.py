"""Dimensions that have to be asked for together with those that can't grow by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice, takewhile

from net2net.analysis import Analysis

_MAX_ATTEMPTS = 24


def partners(sizes: Mapping[str, int], analysis: Analysis, works: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """What has to be added to a request so that a network runs at its sizes; nothing if that isn't found.

    Tried are one more dimension, those nearby first, by the factor or to the size of one that is asked for, and all
    dimensions of the same size.
    """
    return next((more for more in islice(_further(sizes, analysis), _MAX_ATTEMPTS) if works({**sizes, **more})), {})


def _further(sizes: Mapping[str, int], analysis: Analysis) -> Iterator[dict[str, int]]:
    asked = [(name, analysis.dimensions[name].size, after) for name, after in sizes.items()]

    def nearness(name: str) -> int:
        """How many characters two names begin with alike."""
        pairs = [zip(name, other, strict=False) for other, _, _ in asked]
        return max(sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], alike)) for alike in pairs)

    others = [d for d in analysis.growable() if d.name not in sizes]
    for other in sorted(others, key=lambda d: -nearness(d.name)):
        for after in dict.fromkeys(after for _, size, after in asked if size == other.size):
            yield {other.name: after}
        for after in dict.fromkeys(other.size * after // size for _, size, after in asked if size != other.size):
            if after > other.size:
                yield {other.name: after}
    for _, size, after in asked:
        alike = {d.name: after for d in others if d.size == size}
        if len(alike) > 1:
            yield alike
