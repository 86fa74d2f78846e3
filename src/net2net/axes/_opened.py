"""What of a network's interface is meant to change."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Opened:
    """Axes of the network's interface that somebody means to change, so that the interface doesn't lock them.

    `inputs` and `outputs` are (name of the graph, axis); the rows of `tables` are looked up by numbers that are given
    anew. `single` says that one of these axes has a single place: then all that stored tensors have are followed too.
    """

    inputs: frozenset[tuple[str, int]] = frozenset()
    outputs: frozenset[tuple[str, int]] = frozenset()
    tables: frozenset[str] = frozenset()
    single: bool = False


CLOSED = Opened()
