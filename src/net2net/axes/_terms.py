"""Symbolic axes and their unification.

An axis of a tensor is a *term*: an atom with a size, a product of terms (row-major flattening) or a
concatenation of terms. Operations relate terms; relating two terms refines the atoms in them until both say
the same, as type inference does with types.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import pairwise
from typing import TypeAlias


class LockKind(Enum):
    """What holds an axis at its size."""

    INPUT = "an input of the network has it"
    OUTPUT = "an output of the network has it"
    CONSTANT = "numbers that are no weights stand along it"
    PARTS = "its places are things of their own: gates, the parts of a fused projection, the tensors of a list"
    UNCARRIED = "it is inside one tensor only: no value of the network has it"
    NO_RULE = "an operation with no rule touches it"
    ALIGNMENT = "it was related to an axis that it can't be"
    OPERATION = "an operation needs the number or the order of its places"


@dataclass(frozen=True, slots=True)
class Lock:
    """Why an axis can't grow: the kind, and the words for the user."""

    kind: LockKind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(eq=False, slots=True)
class Atom:
    """An axis, or a part of one, with no structure known so far. `lock` says why it can't grow, if it can't."""

    size: int
    lock: Lock | None = None
    bound: Term | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Product:
    """Axes flattened into one, the first varying slowest. The empty product is an axis of size 1."""

    factors: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Concat:
    """Axes laid end to end."""

    parts: tuple[Term, ...]


Term: TypeAlias = Atom | Product | Concat
UNIT = Product(())


def size(term: Term) -> int:
    """Number of positions along the axis."""
    if isinstance(term, Atom):
        return term.size
    if isinstance(term, Product):
        return math.prod(map(size, term.factors))
    return sum(map(size, term.parts))


def product(factors: Sequence[Term]) -> Term:
    """The flattening of axes into one, in normal form (no nesting, no factor of size 1)."""
    flat: list[Term] = []
    for factor in map(head, factors):
        flat.extend(factor.factors if isinstance(factor, Product) else (factor,))
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def concat(parts: Sequence[Term]) -> Term:
    """Axes laid end to end, in normal form (no nesting, no part of size 0)."""
    flat: list[Term] = []
    for part in map(head, parts):
        flat.extend(part.parts if isinstance(part, Concat) else (part,) if size(part) else ())
    return flat[0] if len(flat) == 1 else Concat(tuple(flat))


def head(term: Term) -> Term:
    """What is known of the term, followed through its bindings at the top level only."""
    while isinstance(term, Atom) and term.bound is not None:
        if isinstance(term.bound, Atom) and term.bound.bound is not None:
            term.bound = term.bound.bound  # path compression
        term = term.bound
    return term


def resolve(term: Term) -> Term:
    """The term with every binding followed, in normal form."""
    term = head(term)
    if isinstance(term, Product):
        return product([resolve(f) for f in term.factors])
    if isinstance(term, Concat):
        return concat([resolve(p) for p in term.parts])
    return term


def atoms(term: Term) -> Iterator[Atom]:
    """The atoms that the term is made of, left to right, repetitions included."""
    term = head(term)
    if isinstance(term, Atom):
        yield term
    else:
        for child in term.factors if isinstance(term, Product) else term.parts:
            yield from atoms(child)


def lock(term: Term, reason: str, kind: LockKind = LockKind.OPERATION) -> None:
    """Forbid every atom of the term to grow. The first reason given stays."""
    for atom in atoms(term):
        if atom.lock is None:
            atom.lock = Lock(kind, reason)


def _bind(atom: Atom, term: Term) -> None:
    atom.bound = term
    if atom.lock is not None:
        lock(term, atom.lock.text, atom.lock.kind)


def unify(a: Term, b: Term, why: str) -> None:
    """Make two axes the same axis, refining both. What can't be aligned is locked, with `why` as the reason."""
    a, b = head(a), head(b)
    if a is b:
        return
    if size(a) != size(b):
        lock(a, f"{why} relates axes of sizes {size(a)} and {size(b)}", LockKind.ALIGNMENT)
        lock(b, f"{why} relates axes of sizes {size(a)} and {size(b)}", LockKind.ALIGNMENT)
        return
    if isinstance(a, Atom) or isinstance(b, Atom):
        if not isinstance(a, Atom):
            a, b = b, a
        assert isinstance(a, Atom)
        if any(atom is a for atom in atoms(b)):
            if resolve(b) is not a:
                lock(b, f"{why} relates an axis to a rearrangement of itself", LockKind.ALIGNMENT)
        else:
            _bind(a, b)
    elif isinstance(a, Concat) and isinstance(b, Concat):
        edges = sorted({*_edges(a), *_edges(b)})
        sizes = [end - start for start, end in pairwise(edges)]
        for left, right in zip(split(a, sizes, why), split(b, sizes, why), strict=True):
            unify(left, right, why)
    elif isinstance(a, Product) and isinstance(b, Product):
        _unify_products(a, b, why)
    else:
        mixed, factors = (a, b) if isinstance(a, Concat) else (b, a)
        assert isinstance(factors, Product)
        for left, right in zip(unflatten(mixed, [size(f) for f in factors.factors], why), factors.factors, strict=True):
            unify(left, right, why)


def _edges(term: Concat) -> list[int]:
    edges = [0]
    for part in term.parts:
        edges.append(edges[-1] + size(part))
    return edges


def _unify_products(a: Product, b: Product, why: str) -> None:
    left, right = list(a.factors), list(b.factors)
    while left and right:
        first, second = head(left.pop(0)), head(right.pop(0))
        if isinstance(first, Product) or isinstance(second, Product):
            left[:0] = first.factors if isinstance(first, Product) else (first,)
            right[:0] = second.factors if isinstance(second, Product) else (second,)
            continue
        small, large = sorted((size(first), size(second)))
        if small == large:
            unify(first, second, why)
        elif large % small == 0:
            longer, rest = (first, left) if size(first) == large else (second, right)
            shorter = second if longer is first else first
            outer, inner = unflatten(longer, [small, large // small], why)
            unify(outer, shorter, why)
            rest.insert(0, inner)
        else:
            for term in (first, second, *left, *right):
                lock(term, f"{why} relates blocks of {size(first)} to blocks of {size(second)}", LockKind.ALIGNMENT)
            return
    for term in (*left, *right):  # of single places
        lock(term, f"{why} relates a single place to none", LockKind.ALIGNMENT)


def _locked(sizes: Sequence[int], term: Term, reason: str) -> list[Term]:
    lock(term, reason, LockKind.ALIGNMENT)
    return [Atom(s, Lock(LockKind.ALIGNMENT, reason)) if s != 1 else UNIT for s in sizes]


def unflatten(term: Term, sizes: Sequence[int], why: str) -> list[Term]:
    """See the axis as a product of axes of these sizes: what a view does. Returns the factors."""
    if len(sizes) == 1:
        return [term]
    term = head(term)
    if sizes[0] == 1:
        return [UNIT, *unflatten(term, sizes[1:], why)]
    if sizes[-1] == 1:
        return [*unflatten(term, sizes[:-1], why), UNIT]
    if isinstance(term, Atom):
        new = [Atom(s) if s != 1 else UNIT for s in sizes]
        _bind(term, product(new))
        return list(new)
    if isinstance(term, Concat):
        return _unflatten_concat(term, sizes, why)
    return _unflatten_product(term, sizes, why)


def _unflatten_product(term: Product, sizes: Sequence[int], why: str) -> list[Term]:
    factors, result = [head(f) for f in term.factors], []
    for wanted in sizes:
        group: list[Term] = []
        missing = wanted
        while missing > 1:
            factor = head(factors.pop(0))
            if isinstance(factor, Product):
                factors[:0] = factor.factors
            elif missing % size(factor) == 0:
                group.append(factor)
                missing //= size(factor)
            elif size(factor) % missing == 0:
                outer, inner = unflatten(factor, [missing, size(factor) // missing], why)
                group.append(outer)
                factors.insert(0, inner)
                missing = 1
            else:
                sizes_text = " x ".join(str(size(f)) for f in term.factors)
                return _locked(sizes, term, f"{why} cuts across blocks of {sizes_text}")
        result.append(product(group))
    return result


def _unflatten_concat(term: Concat, sizes: Sequence[int], why: str) -> list[Term]:
    inner = math.prod(sizes[1:])
    if any(size(part) % inner for part in term.parts):
        return _locked(sizes, term, f"{why} cuts across parts of {[size(p) for p in term.parts]}")
    outers, rows = [], []
    for part in term.parts:
        count = size(part) // inner
        outer, row = (UNIT, part) if count == 1 else unflatten(part, [count, inner], why)
        alone = Lock(LockKind.ALIGNMENT, f"{why} gives each of its {len(term.parts)} parts one place")
        outers.append(Atom(1, alone) if count == 1 else outer)
        rows.append(row)
    for row in rows[1:]:
        unify(rows[0], row, why)
    return [concat(outers), *unflatten(rows[0], sizes[1:], why)]


def split(term: Term, sizes: Sequence[int], why: str) -> list[Term]:
    """See the axis as a concatenation of axes of these sizes: what a split or a slice does. Returns the parts."""
    if len(sizes) == 1:
        return [term]
    term = head(term)
    if isinstance(term, Atom):
        new: list[Term] = [Atom(s) if s != 1 else UNIT for s in sizes]
        _bind(term, concat(new))
        return new
    if isinstance(term, Product):
        inner = size(term) // size(term.factors[0])
        if any(s % inner for s in sizes):
            return _locked(sizes, term, f"{why} cuts inside blocks of {inner}")
        outers = split(term.factors[0], [s // inner for s in sizes], why)
        return [product([outer if size(outer) > 1 else UNIT, *term.factors[1:]]) for outer in outers]
    return _split_concat(term, sizes, why)


def _split_concat(term: Concat, sizes: Sequence[int], why: str) -> list[Term]:
    parts, result = list(term.parts), []
    for wanted in sizes:
        group: list[Term] = []
        while wanted > 0:
            part = head(parts.pop(0))
            if isinstance(part, Concat):
                parts[:0] = part.parts
                continue
            if size(part) > wanted:
                part, rest = split(part, [wanted, size(part) - wanted], why)
                parts.insert(0, rest)
            group.append(part)
            wanted -= size(part)
        result.append(concat(group))
    return result
