"""What the user asks for -> how many blocks or layers come where."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from net2net.capture import shown
from net2net.depth._layers import LayerPlace
from net2net.depth._order import Positions
from net2net.depth._stack import Stack
from net2net.errors import OptionError, SizeError, UnknownNameError

Depth = int | float | str | Sequence[int]
Where = Mapping[str, Depth] | float | str


@dataclass(frozen=True)
class Wanted:
    """So many new blocks or layers at a place, at these positions if they are given."""

    place: Stack | LayerPlace
    count: int
    positions: Positions | None = None


def resolve_where(where: Where, stacks: Sequence[Stack], layers: Sequence[LayerPlace]) -> list[Wanted]:
    """What a request means.

    Args:
        where: a factor for every stack (every layer where there is no stack), or a dict from a place to a number of
            new blocks or layers (int), a factor (float or "2x") or a list of the blocks after which new ones come.
            A place is a stack, one of its blocks, a layer, a module that holds one stack or several layers, or a
            glob.

    Raises:
        UnknownNameError, SizeError, OptionError: a key or a value doesn't work.
    """
    if isinstance(where, Mapping):
        found = [wanted for key, depth in where.items() for wanted in _wanted(key, depth, stacks, layers)]
        places = [w.place for w in found]
        if len(set(map(id, places))) < len(places):
            raise OptionError("two keys of the request mean the same place; name it once.")
        return [w for w in found if w.count]
    if isinstance(where, int):
        raise OptionError(f"deepen(model, {where}): give a factor (2.0 or '2x'), or a dict from places to numbers.")
    if stacks:
        return [Wanted(s, _count(where, len(s), s.name)) for s in stacks if _count(where, len(s), s.name)]
    possible = [p for p in layers if p.kind is not None]
    if not possible:
        raise UnknownNameError(_nowhere(layers))
    return [Wanted(p, _count(where, 1, p.name)) for p in possible if _count(where, 1, p.name)]


def _nowhere(layers: Sequence[LayerPlace]) -> str:
    reasons = "; ".join(f"'{p.name}': {p.reason}" for p in layers[:3])
    return (
        "nothing in this network can be made deeper exactly: no block repeats or adds to a stream, and no layer is "
        f"followed by an activation that allows an identity layer. {reasons}".rstrip()
    )


def _wanted(key: str, depth: Depth, stacks: Sequence[Stack], layers: Sequence[LayerPlace]) -> Iterator[Wanted]:
    key = shown(key) or key
    for stack in stacks:
        if key == stack.name:
            yield _of_stack(stack, depth)
            return
    for stack in stacks:
        for i, block in enumerate(stack.blocks):
            if key == shown(block.path):
                count = _count(depth, 1, key)
                yield Wanted(stack, count, [i] * count)
                return
    named = [p for p in layers if key in (p.name, shown(p.last))]
    inside = [s for s in stacks if f"{shown(s.container)}.".startswith(key + ".")]
    inside = [s for s in inside if not any(s.container.startswith(b.path + ".") for o in inside for b in o.blocks)]
    beneath = [p for p in layers if p.name.startswith(key + ".") or key == "."]
    if not named and len(inside) == 1:
        yield _of_stack(inside[0], depth)
    elif not named and len(inside) > 1:
        raise UnknownNameError(f"'{key}' holds several stacks; name one: {[s.name for s in inside]}.")
    elif named:
        yield Wanted(named[0], _count(depth, 1, key))
    elif beneath:
        yield from _spread(beneath, depth, key)
    else:
        names = [*(s.name for s in stacks), *(p.name for p in layers)]
        matched = fnmatch.filter(names, key)
        if not matched:
            raise UnknownNameError(_unknown(key, names, layers))
        for name in matched:
            yield from _wanted(name, depth, stacks, layers)


def _of_stack(stack: Stack, depth: Depth) -> Wanted:
    if isinstance(depth, Sequence) and not isinstance(depth, str):
        return Wanted(stack, len(depth), depth)
    return Wanted(stack, _count(depth, len(stack), stack.name))


def _spread(layers: Sequence[LayerPlace], depth: Depth, key: str) -> Iterator[Wanted]:
    """So many layers in a module, evenly over the places in it that allow one."""
    possible = [p for p in layers if p.kind is not None]
    if not possible:
        raise UnknownNameError(f"'{key}' has no place for an identity layer: {layers[0].reason}.")
    count = _count(depth, len(possible), key)
    for i, place in enumerate(possible):
        here = (i + 1) * count // len(possible) - i * count // len(possible)
        if here:
            yield Wanted(place, here)


def _unknown(key: str, names: list[str], layers: Sequence[LayerPlace]) -> str:
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
    if not names:
        return f"'{key}': {_nowhere(layers)}"
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Places: {', '.join(map(repr, names[:8]))}."
    return f"there is no stack of blocks and no layer with an activation called '{key}'. {hint}"


def _count(depth: Depth, before: int, name: str) -> int:
    """How many come new: an int says it, a factor multiplies what is there."""
    if isinstance(depth, int) and not isinstance(depth, bool) and depth > 0:
        return depth
    try:
        if isinstance(depth, str):
            text = depth.strip().lower()
            if not text.endswith("x"):
                return _count(int(text), before, name)
            depth = float(text[:-1])
        if isinstance(depth, float) and math.isfinite(depth) and depth >= 1:
            return round(before * depth) - before
    except (ValueError, OverflowError):
        pass
    raise SizeError(
        f"'{name}': {depth!r} is not a depth; give how many more (an int above 0), a factor from 1 (2.0 or '2x'), or, "
        "for a stack, a list of the blocks after which new ones come."
    )
