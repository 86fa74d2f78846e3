"""Maps of composite axes from the maps of their atoms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from net2net.axes import Atom, Concat, Term, resolve, size
from net2net.plan import AxisMap


def compose(term: Term, leaf: Callable[[Atom], AxisMap]) -> AxisMap:
    """The map of an axis, given the maps of the atoms that it is made of."""
    term = resolve(term)
    if isinstance(term, Atom):
        return leaf(term)
    if isinstance(term, Concat):
        return _joined([compose(p, leaf) for p in term.parts], list(map(size, term.parts)))
    result = AxisMap(np.arange(1))
    for factor in term.factors:
        result = _flattened(result, compose(factor, leaf), size(factor))
    return result


def _joined(maps: list[AxisMap], lengths: list[int]) -> AxisMap:
    """The map of a concatenation: values offset by the old lengths, places by the new ones."""
    starts = np.cumsum([0, *lengths[:-1]])
    places = np.cumsum([0, *(len(m.source) for m in maps[:-1])])
    source = np.concatenate([_shifted(m.source, s) for m, s in zip(maps, starts, strict=True)])
    partner = None
    if any(m.partner is not None for m in maps):
        partner = np.concatenate([_shifted(_partner(m), p) for m, p in zip(maps, places, strict=True)])
    return AxisMap(
        source,
        None if all(m.factor is None for m in maps) else np.concatenate([_factor(m) for m in maps]),
        None if all(m.fresh is None for m in maps) else np.concatenate([_fresh(m) for m in maps]),
        partner,
        min(m.sign for m in maps),
        any(m.contracted for m in maps),
        None if all(m.gradient is None for m in maps) else np.concatenate([_gradient(m) for m in maps]),
        before=sum(lengths),
        values=None if all(m.values is None for m in maps) else np.concatenate([_values(m) for m in maps]),
    )


def _flattened(outer: AxisMap, inner: AxisMap, length: int) -> AxisMap:
    """The map of a product, the inner axis varying fastest. Where both places are new, silence wins."""
    rows, columns = len(outer.source), len(inner.source)
    a, b = outer.source[:, None], inner.source[None, :]
    source = np.where((a < 0) | (b < 0), -1, a * length + b).ravel()
    factor = None
    if outer.factor is not None or inner.factor is not None:
        factor = (_factor(outer)[:, None] * _factor(inner)[None, :]).ravel()
    fresh = None
    if outer.fresh is not None or inner.fresh is not None:
        x, y = _fresh(outer)[:, None], _fresh(inner)[None, :]
        fresh = np.where((x > 0) & (y > 0), np.minimum(x, y), np.maximum(x, y)).ravel()
    partner = None
    if outer.partner is not None or inner.partner is not None:
        of_row, of_column = _partner(outer)[:, None], _partner(inner)[None, :]
        by_row = np.where(of_row < 0, -1, of_row * columns + np.arange(columns))
        by_column = np.where(of_column < 0, -1, np.arange(rows)[:, None] * columns + of_column)
        partner = np.where(by_row < 0, by_column, by_row).ravel()
    gradient = None
    if outer.gradient is not None or inner.gradient is not None:
        gradient = (_gradient(outer)[:, None] * _gradient(inner)[None, :]).ravel()
    contracted = outer.contracted or inner.contracted
    values = None
    if outer.values is not None or inner.values is not None:
        values = np.where(inner.source < 0, _values(inner)[None, :], _values(outer)[:, None]).ravel()
    sign, before = min(outer.sign, inner.sign), outer.before * length
    return AxisMap(source, factor, fresh, partner, sign, contracted, gradient, before=before, values=values)


def _shifted(places: npt.NDArray[np.int64], by: int) -> npt.NDArray[np.int64]:
    return np.where(places < 0, -1, places + by)


def _factor(m: AxisMap) -> npt.NDArray[np.float64]:
    return np.ones(len(m.source)) if m.factor is None else m.factor


def _gradient(m: AxisMap) -> npt.NDArray[np.float64]:
    return np.ones(len(m.source)) if m.gradient is None else m.gradient


def _values(m: AxisMap) -> npt.NDArray[np.float64]:
    return np.zeros(len(m.source)) if m.values is None else m.values


def _fresh(m: AxisMap) -> npt.NDArray[np.uint8]:
    return np.zeros(len(m.source), dtype=np.uint8) if m.fresh is None else m.fresh


def _partner(m: AxisMap) -> npt.NDArray[np.int64]:
    return np.full(len(m.source), -1) if m.partner is None else m.partner
