"""In what order the blocks of a deeper stack stand: which block of the teacher each is, or copies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from net2net.errors import OptionError, SizeError
from net2net.plan import Preservation

# Where new blocks go: evenly through the stack, after all blocks, before the last one, or after the blocks named
# (-1: before the first). A callable gets the number of blocks and of new ones, and returns such a list.
Positions = str | Sequence[int] | Callable[[int, int], Sequence[int]]
POSITIONS = ("spread", "append", "before_last")
PRESERVING = ("identity", "zero", "zero-random")
NOT_PRESERVING = ("stack", "interleave", "middle", "overlap", "random")
INITS = (*PRESERVING, *NOT_PRESERVING)


def promise(init: str) -> Preservation:
    """Whether blocks that start this way leave the function as it is."""
    return "exact" if init in PRESERVING else "none"


Order = tuple[tuple[int, bool], ...]  # for each block of the student: a block of the teacher, and whether it's new


def order(blocks: int, new: int, init: str, positions: Positions, name: str) -> Order:
    """The blocks of the student.

    Args:
        blocks: how many there are.
        new: how many more there will be.
        init: one of `INITS`; those that copy blocks in a pattern of their own take no positions.
        positions: where new blocks go.
        name: of the stack, for messages.

    Raises:
        OptionError, SizeError: there is no such order.

    Example:
        >>> [source for source, _ in order(4, 2, "zero", "spread", "layers")]
        [0, 1, 1, 2, 3, 3]
        >>> [source for source, _ in order(4, 2, "overlap", "spread", "layers")]
        [0, 1, 2, 1, 2, 3]
    """
    if init in ("stack", "interleave", "middle", "overlap"):
        if positions != "spread":
            raise OptionError(f"init={init!r} has positions of its own; leave `positions` out.")
        return _first_is_kept(_pattern(blocks, new, init, name))
    after = sorted(_after(blocks, new, positions, name))
    result: list[tuple[int, bool]] = [(0, True) for p in after if p == -1]
    for block in range(blocks):
        result.append((block, False))
        result += [(block, True) for p in after if p == block]
    return tuple(result)


def _pattern(blocks: int, new: int, init: str, name: str) -> list[int]:
    total = blocks + new
    if init == "stack":  # the whole stack again: G_stack
        return [i % blocks for i in range(total)]
    if init == "interleave":  # each block twice: bert2BERT's and LLaMA-Pro's order
        return [i * blocks // total for i in range(total)]
    if new > blocks:
        raise SizeError(f"init={init!r} at most doubles '{name}': {blocks} blocks, {new} more were asked for.")
    if init == "middle":  # the blocks in the middle twice in a row: MIDAS
        end = (blocks + new + 1) // 2
        return [*range(end), *range(end - new, blocks)]
    first = (total + 1) // 2  # the first and the last blocks, overlapping: SOLAR's depth up-scaling
    return [*range(first), *range(blocks - (total - first), blocks)]


def _first_is_kept(sources: list[int]) -> Order:
    seen: set[int] = set()
    result = []
    for source in sources:
        result.append((source, source in seen))
        seen.add(source)
    return tuple(result)


def _after(blocks: int, new: int, positions: Positions, name: str) -> list[int]:
    if callable(positions):
        positions = list(positions(blocks, new))
    if isinstance(positions, str):
        if positions not in POSITIONS:
            known = ", ".join(POSITIONS)
            raise OptionError(f"positions={positions!r} is not known; use {known}, a list of blocks, or a callable.")
        if positions == "spread":
            return [((k + 1) * blocks - 1) // new if new <= blocks else k * blocks // new for k in range(new)]
        return [blocks - 1 if positions == "append" else blocks - 2] * new
    if not isinstance(positions, Sequence):
        raise OptionError(f"positions={positions!r}: use {', '.join(POSITIONS)}, a list of blocks, or a callable.")
    after = [*positions]
    bad = [p for p in after if isinstance(p, bool) or not isinstance(p, int) or not -1 <= p < blocks]
    if bad or len(after) != new:
        raise OptionError(
            f"positions for '{name}' must be {new} numbers from -1 to {blocks - 1} (the block after which each new one "
            f"comes, -1 for the first place); got {after}."
        )
    return after
