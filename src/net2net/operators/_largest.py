"""The largest set of dimensions that a network's classes let grow together."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Generic, TypeVar

from net2net.errors import GrowthError

Design = TypeVar("Design")
Names = tuple[str, ...]
# So many designs are looked at beyond those of all together and of each kind; a design takes a fraction of a second.
_MAX_FURTHER = 60


def largest(names: Sequence[str], design: Callable[[Names], Design]) -> tuple[Design, dict[str, str]]:
    """The design for as many of the dimensions as can grow together, and why each of the others can't.

    A class may tie a dimension to one that is fixed (the residual stream to the heads, where a position encoding fixes
    those). All are tried together; then kind by kind, where a kind is one name in all layers; what doesn't join those
    by itself may join them together with another kind, or in some layers only.

    Args:
        names: the dimensions, those that matter most first.
        design: gives the design for some of them, or raises a GrowthError.

    Raises:
        GrowthError: none can grow; the reason is why all together can't.

    Example:
        >>> def design(names):
        ...     if "heads" in names and "stream" not in names:
        ...         raise GrowthError("heads are tied to the stream")
        ...     if "depth" in names:
        ...         raise GrowthError("the depth is fixed")
        ...     return sorted(names)
        >>> largest(["heads", "depth", "stream"], design)
        (['heads', 'stream'], {'depth': 'the depth is fixed'})
    """
    search = _Search(design)
    if not search.add(tuple(names)):
        refusal = search.refusal
        waiting = search.add_together(search.add_each(_kinds(names)))
        for kind in waiting:
            for name in kind if len(kind) > 1 else ():
                search.add((name,), further=True)
        if search.design is None:
            assert refusal is not None
            raise refusal
    assert search.design is not None
    return search.design, {name: search.reasons[name] for name in names if name not in search.chosen}


def _kinds(names: Sequence[str]) -> list[Names]:
    """One kind for each name, whatever the numbers in it; numbers alone (a Sequential's) are names."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        starred = re.sub(r"\d+", "*", name)
        kinds.setdefault(starred if re.search("[a-z]", starred) else name, []).append(name)
    return [tuple(kind) for kind in kinds.values()]


class _Search(Generic[Design]):
    """What has been chosen so far, and why the rest was not."""

    def __init__(self, make: Callable[[Names], Design]) -> None:
        self.make = make
        self.design: Design | None = None
        self.chosen: Names = ()
        self.reasons: dict[str, str] = {}
        self.refusal: GrowthError | None = None
        self.further = 0
        self.refused: dict[frozenset[str], GrowthError] = {}

    def add(self, names: Names, further: bool = False) -> bool:
        """Whether these can grow together with what has been chosen; they are chosen then."""
        self.further += further
        if self.further > _MAX_FURTHER:
            return False
        every = (*self.chosen, *names)
        key = frozenset(every)
        try:
            if key in self.refused:
                raise self.refused[key]
            self.design = self.make(every)
        except GrowthError as error:
            self.refusal = self.refused[key] = error
            self.reasons.update(dict.fromkeys(names, str(error).splitlines()[0]))
            return False
        self.chosen = every
        return True

    def add_each(self, kinds: list[Names]) -> list[Names]:
        """Choose kinds one by one, those behind one that can't grow all at once where they can; those that are left."""
        for k, kind in enumerate(kinds):
            if self.add(kind):
                continue
            rest = kinds[k + 1 :]
            if len(rest) > 1 and self.add(tuple(name for other in rest for name in other)):
                return [kind]
            return [kind, *self.add_each(rest)]
        return []

    def add_together(self, kinds: list[Names]) -> list[Names]:
        """Choose kinds that can grow only with what has been chosen since, or together; those that are left."""
        for count in range(1, len(kinds) + 1):
            for some in combinations(kinds, count):
                left = [kind for kind in kinds if kind not in some]
                if self.add(tuple(name for kind in some for name in kind), further=True):
                    return self.add_together(left)
        return kinds
