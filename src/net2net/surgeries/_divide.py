"""The map of an axis, as maps of the atoms that it is made of."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from net2net.axes import Atom, Product, Term, resolve, size
from net2net.plan import AxisMap
from net2net.sites import NotPossible, compose

Source = npt.NDArray[np.int64]


def divided(term: Term, source: Source, later: bool = False) -> dict[Atom, Source]:
    """For each atom of an axis where its places come from.

    Args:
        term: the axis.
        source: for each of its places after the change the place before, or -1.
        later: whether new places between two parts of the axis belong to the second of them.

    Raises:
        NotPossible: the atoms can't be changed so that the axis changes like this.
    """
    found: dict[Atom, Source] = {}
    for atom, mine in _divided(resolve(term), source, later):
        if not np.array_equal(found.setdefault(atom, mine), mine):
            raise NotPossible("two parts of it are one and the same axis, and would change differently")
    return found


def places_of(term: Term, atom: Atom) -> Source:
    """For each place of an axis the place of an atom that it is made of, or -1."""

    def numbered(other: Atom) -> AxisMap:  # as the axis is made of its atoms, so are their numbers
        return AxisMap(np.arange(other.size), factor=np.arange(1.0, 1 + other.size) if other is atom else None)

    def marked(other: Atom) -> AxisMap:
        return AxisMap(np.full(other.size, -1 if other is atom else 0), before=other.size)

    numbers, here = compose(term, numbered).factor, compose(term, marked).source < 0
    found: Source = np.where(here, 0 if numbers is None else numbers - 1, -1).astype(np.int64)
    return found


def _divided(term: Term, source: Source, later: bool) -> Iterator[tuple[Atom, Source]]:
    if isinstance(term, Atom):
        yield term, source
    elif isinstance(term, Product):
        yield from _of_product(term, source, later)
    else:
        for part, mine in _cut([size(p) for p in term.parts], source, later):
            yield from _divided(resolve(term.parts[part]), mine, later)


def _of_product(term: Product, source: Source, later: bool) -> Iterator[tuple[Atom, Source]]:
    sizes = list(map(size, term.factors))
    if np.array_equal(source, np.arange(math.prod(sizes))):
        return
    for k, length in enumerate(sizes):
        outer, inner = math.prod(sizes[:k]), math.prod(sizes[k + 1 :])
        if len(source) % (outer * inner):
            continue
        seen = source.reshape(outer, -1, inner)
        mine = np.where(seen < 0, -1, seen // inner % length)[0, :, 0]
        whole = (np.arange(outer)[:, None] * length + mine)[:, :, None] * inner + np.arange(inner)
        if np.array_equal(np.where(mine[None, :, None] < 0, -1, whole), seen):
            yield from _divided(resolve(term.factors[k]), mine, later)
            return
    if not sizes:
        raise NotPossible("a single place, which the network takes by itself, is related to no weight")
    text = " x ".join(map(str, sizes))
    raise NotPossible(f"the network sees it as {text}, and the change is not the same in every block")


def _cut(sizes: list[int], source: Source, later: bool) -> Iterator[tuple[int, Source]]:
    """The part of the map that belongs to each part of a concatenation; parts stay in their order."""
    edges = np.cumsum([0, *sizes])
    owner = np.where(source < 0, -1, np.searchsorted(edges, source, side="right") - 1)
    known = np.flatnonzero(owner >= 0)
    for place in np.flatnonzero(owner < 0):  # new places go to a part beside them
        before, after = known[known < place], known[known > place]
        left = owner[before[-1]] if len(before) else owner[after[0]] if len(after) else 0
        right = owner[after[0]] if len(after) else left
        owner[place] = right if later else left
    if (np.diff(owner) < 0).any():
        raise NotPossible("a part of it that the network takes by itself would be mixed with another part")
    for part, start in enumerate(edges[:-1]):
        mine = source[owner == part]
        if not len(mine):
            raise NotPossible("a part of it that the network takes by itself would have no place left")
        yield part, np.where(mine < 0, -1, mine - start)
