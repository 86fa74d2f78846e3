"""Wishes -> a plan: where every place of every tensor comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from net2net._version import __version__
from net2net.analysis import Analysis
from net2net.axes import Atom, Inference, atoms, holds_constants
from net2net.capture import Value
from net2net.errors import FixedDimensionError, OptionError
from net2net.plan import FRESH, AxisMap, Fresh, Plan, Shift, TensorPlan
from net2net.sites import FreshNeeds, NotPossible, Sites, compose
from net2net.surgeries._change import Surgery
from net2net.surgeries._changed import Changed
from net2net.surgeries._constants import shifts
from net2net.surgeries._ports import Wish
from net2net.surgeries._roles import reached_by, role_of
from net2net.surgeries._starts import Start
from net2net.surgeries._statistics import begun


def surgery_plan(analysis: Analysis, changed: Mapping[Atom, Changed], wishes: list[Wish], seed: int) -> Plan:
    """The plan for every tensor that the changed axes run through.

    Raises:
        FixedDimensionError: new features can't be kept from mattering, or constants can't be folded.
    """
    sites = analysis.sites
    for atom, change in changed.items():
        change.needs = _needs(sites, atom, change)
    tensors: dict[str, TensorPlan] = {}
    given: set[Start] = set()
    for name, value in sites.inference.graph.state.items():
        maps = [_map(sites, value, axis, changed, given) for axis in range(len(value.shape))]
        if any(m is not None for m in maps):
            shape = tuple(s if m is None else len(m.source) for s, m in zip(value.shape, maps, strict=True))
            tensors[name] = TensorPlan(shape, tuple(maps), blank=_blank(sites, name, changed))
    for atom, change in changed.items():
        _require_bias(change, given)
        for bias, shift in _shifts(sites, atom, change):
            shape = sites.inference.graph.state[bias].shape
            planned = tensors.get(bias, TensorPlan(shape, (None,) * len(shape)))
            tensors[bias] = replace(planned, shifts=(*planned.shifts, shift))
    return Plan(tensors, tuple(_change(wish, changed) for wish in wishes), seed, version=__version__)


def _needs(sites: Sites, atom: Atom, change: Changed) -> FreshNeeds:
    """What the new places of an axis ask of the weights around it."""
    if (change.source >= 0).all():
        return FreshNeeds(contracted=sites.contracted(atom))
    if sites.normalisations[atom]:
        where = sites.normalisations[atom][0].node.where
        raise FixedDimensionError(
            f"{change.wishes[0].what} can't have new places: {where} takes a mean over all of them, which new ones "
            "would move. Put them in behind it."
        )
    state = sites.inference.graph.state.values()
    known = {v.name for v in state if holds_constants(v) and role_of(sites.inference, v) is not None}
    reasons = []
    for inward in (False, True):
        try:
            return sites.fresh_needs(atom, inward=inward, known=known)
        except NotPossible as reason:
            reasons.append(str(reason))
    raise FixedDimensionError(f"{change.wishes[0].what} can't have new places: {reasons[0]}.")


def _map(sites: Sites, value: Value, axis: int, changed: Mapping[Atom, Changed], given: set[Start]) -> AxisMap | None:
    term = sites.inference.of(value)[axis]
    if not any(a in changed for a in atoms(term)):
        return None

    def leaf(atom: Atom) -> AxisMap:
        if atom not in changed:
            return AxisMap(np.arange(atom.size))
        return _leaf(sites.inference, value, axis, atom, changed[atom], given)

    return compose(term, leaf)


def _leaf(inference: Inference, value: Value, axis: int, atom: Atom, change: Changed, given: set[Start]) -> AxisMap:
    source, place = change.source, (value.name, axis)
    contracted = place in change.needs.contracted
    new = source < 0
    rule = change.needs.rules.get(place)
    if rule is not None or contracted:
        return _filled(source, atom.size, rule or "zero", contracted=contracted)
    role, start = role_of(inference, value), _start(inference, value, change)
    if change.statistics is not None and role in ("scale", "added"):
        numbers = begun(inference, value, atom, change.statistics)
        if numbers is not None:
            return _filled(source, atom.size, "value", numbers)
    if start is not None and start.copied is not None:
        return AxisMap(np.where(new, start.copied, source), before=atom.size)
    if role == "scale":
        return _filled(source, atom.size, "value", 1.0)
    if role == "added" and (start is None or start.fill == "zero"):
        first = start is not None and start not in given
        given.update([start] if first and start is not None else [])
        return _filled(source, atom.size, "value", start.bias if start is not None and first else 0.0)
    return _filled(source, atom.size, "zero" if value.zeros else "random" if start is None else start.fill)


def _start(inference: Inference, value: Value, change: Changed) -> Start | None:
    """How the new places of a stored tensor begin: as the output that it reaches asks for."""
    starts = list(dict.fromkeys(change.starts.values()))
    if len(starts) > 1:
        reached = reached_by(value)
        mine = [s for w, s in change.starts.items() if any(v in reached for _, v in w.values)]
        starts = list(dict.fromkeys(mine)) or starts[:1]
    if len(starts) > 1:
        raise OptionError(
            f"'{value.name}' makes new entries of the {change.name}, which begin alike: give them the same start=."
        )
    return starts[0] if starts else None


def _filled(
    source: npt.NDArray[np.int64],
    before: int,
    fill: Fresh,
    number: float | npt.NDArray[np.float64] = 0.0,
    contracted: bool = False,
) -> AxisMap:
    new = source < 0
    if not new.any():
        return AxisMap(source, contracted=contracted, before=before)
    fresh = np.where(new, FRESH.index(fill), 0).astype(np.uint8)
    values = np.where(new, number, 0.0) if fill == "value" else None
    return AxisMap(source, None, fresh, contracted=contracted, before=before, values=values)


def _blank(sites: Sites, name: str, changed: Mapping[Atom, Changed]) -> tuple[int, ...]:
    """The rows of padding of a table, which have to stay where they are."""
    rows = sites.blank_rows(name)
    value = sites.inference.graph.state[name]
    for atom in atoms(sites.inference.of(value)[0]) if rows else ():
        if atom in changed and any(
            row >= len(changed[atom].source) or changed[atom].source[row] != row for row in rows
        ):
            raise OptionError(
                f"row {rows[0]} of '{name}' is that of padding, whose number is fixed: leave it in its place."
            )
    return rows


def _require_bias(change: Changed, given: set[Start]) -> None:
    for wish, start in change.starts.items():
        if start.bias and start not in given:
            raise FixedDimensionError(
                f"{wish.what} is made without a bias, so new entries can't begin {start.words}. Use start='copy:NAME', "
                "'mean' or 'zero'."
            )


def _shifts(sites: Sites, atom: Atom, change: Changed) -> Iterator[tuple[str, Shift]]:
    if change.constants is None or np.isnan(change.constants).all():
        return
    try:
        yield from shifts(sites, atom, change.constants)
    except NotPossible as reason:
        raise FixedDimensionError(f"{change.wishes[0].what} can't lose features: {reason}.") from None


def _change(wish: Wish, changed: Mapping[Atom, Changed]) -> Surgery:
    features = wish.features
    start = next((c.starts[wish] for c in changed.values() if wish in c.starts), None)
    axis = features.axis if wish.axis is None else wish.axis
    return Surgery(
        wish.side,
        wish.name,
        tuple(features.old),
        tuple(features.new),
        axis,
        features.frames,
        {str(name): float(number) for name, number in features.constants.items()},
        start.words if start is not None and len(wish.places.new) else None,
    )
