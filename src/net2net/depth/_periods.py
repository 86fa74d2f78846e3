"""The orders that blocks of several kinds can have: whole periods more, or the pattern carried on at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from net2net.depth._order import PRESERVING, Order, Positions, order
from net2net.depth._stack import Stack

_MOST_ENDS = 4


def orders(stack: Stack, new: int, init: str, positions: Positions | None) -> list[Order]:
    """The orders that a stack with so many new blocks may have, the best first.

    Blocks of one kind are spread, or appended where their class holds to their places. Blocks of several kinds have a
    pattern, such as one dense and then mixtures, or two kinds in turn. Whole periods of it are spread, and where that
    doesn't divide, or a class makes others, the pattern goes on at the end; or blocks of one kind get more of theirs.

    Args:
        stack: what grows.
        new: how many more blocks there will be.
        init, positions: as for `deepen`.

    Raises:
        OptionError, SizeError: there is no such order.
    """
    if len(set(stack.kinds)) == 1 or not (positions is None or positions in ("spread", "append")):
        found = [order(len(stack), new, init, "spread" if positions is None else positions, stack.name)]
        if positions is None and init in PRESERVING:
            found.append(order(len(stack), new, init, "append", stack.name))
        return list(dict.fromkeys(found))
    found = []
    for before, size in _patterns(stack.kinds):
        if new % size == 0 and positions != "append":
            units = order((len(stack) - before) // size, new // size, init, "spread", stack.name)
            found.append(_unfolded(units, before, size))
    if positions != "spread":
        start = len(stack)
        for _, size in _patterns(stack.kinds):
            found.append((*((k, False) for k in range(start)), *((start - size + k % size, True) for k in range(new))))
    if positions is None:
        ends = [k for k, (kind, after) in enumerate(pairwise(stack.kinds)) if kind != after][:_MOST_ENDS]
        found += [order(len(stack), new, init, [k] * new, stack.name) for k in ends if init in PRESERVING]
    return list(dict.fromkeys(found))


def _patterns(kinds: Sequence[object]) -> Iterator[tuple[int, int]]:
    """How many blocks stand before a period that repeats, and how long that is, the shortest description first.

    Example:
        >>> list(_patterns("DMMM"))[0], list(_patterns("DMDM"))[0]
        ((1, 1), (0, 2))
    """
    count, found = len(kinds), []
    for size in range(1, count + 1):
        before = next(k for k in range(count) if all(kinds[i] == kinds[i + size] for i in range(k, count - size)))
        before += (count - before) % size
        if before < count:
            found.append((before, size))
    yield from sorted(found, key=lambda pattern: (sum(pattern), pattern[0]))


def _unfolded(units: Order, before: int, size: int) -> Order:
    blocks = [(before + unit * size + k, new) for unit, new in units for k in range(size)]
    return (*((k, False) for k in range(before)), *blocks)
