"""Sizes that depend on the values of a tensor, and the numbers that stand in for them."""

from __future__ import annotations

import math
from typing import Any

import torch

# Stand-ins for unknown sizes begin here: larger than the widths of a network.
_FIRST_UNKNOWN = 1_000_003


class UnknownSize(int):
    """A size that depends on the values of a tensor, as the number of entries that a mask picks.

    A prime stands in for it, one for each size in the order of the graph, so that products and quotients of sizes
    stay what they are; no tensor has this many entries.
    """


class Sizes:
    """The sizes of one graph as numbers; each size that torch knows by a symbol gets a prime when it is first met."""

    def __init__(self) -> None:
        self.unknown: dict[Any, int] = {}

    def of(self, size: Any) -> int:
        """A size as a number; an `UnknownSize` where it depends on values."""
        if not isinstance(size, torch.SymInt):
            return int(size)
        expression = size.node.expr
        for symbol in sorted(expression.free_symbols - self.unknown.keys(), key=str):
            self.unknown[symbol] = _next_prime(max(self.unknown.values(), default=_FIRST_UNKNOWN - 1) + 1)
        known = int(expression.subs(self.unknown))
        return UnknownSize(known) if expression.free_symbols else known

    def shape(self, tensor: torch.Tensor) -> tuple[int, ...]:
        """The shape of a tensor as numbers."""
        return tuple(map(self.of, tensor.shape))


def _next_prime(start: int) -> int:
    while any(start % divisor == 0 for divisor in range(2, math.isqrt(start) + 1)):
        start += 1
    return start
