"""Width: a request for bigger dimensions -> a plan."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from net2net._version import __version__
from net2net.axes import Atom, Normalisation, Reduction, Term, atoms
from net2net.capture import Value
from net2net.errors import FixedDimensionError, SizeError
from net2net.plan import FRESH, AxisMap, Fresh, Noise, Plan, Preservation, TensorPlan, Widening, weakest
from net2net.sites import FreshNeeds, NotPossible, Place, Sites, SplitNeeds, compose
from net2net.width._options import NoiseSpec, WidthOptions
from net2net.width._units import How, UnitMap, UnitRequest, how_of

# A place that no growth asks anything of: an axis there just holds the units.
_NO_PLACE: Place = ("", 0)


@dataclass
class _Growing:
    """One dimension that grows: how, its units, and what that asks of the weights."""

    name: str
    how: How
    units: UnitMap
    needs: SplitNeeds | FreshNeeds


def plan_width(
    sites: Sites, wanted: dict[str, tuple[Atom, int]], options: WidthOptions, *, keep_eps: bool = False
) -> Plan:
    """The plan that grows the dimensions named to the sizes wanted.

    Args:
        sites: where the network mixes its dimensions.
        wanted: for each dimension's name, its atom and its new size.
        options: how new units are made.
        keep_eps: don't choose new units where a norm's eps would have to change with them.

    Raises:
        FixedDimensionError, SizeError: a dimension can't grow, or not to that size, or not in that way.
    """
    planner = _Planner(sites, options, keep_eps)
    for name, (atom, after) in wanted.items():
        planner.grow(name, atom, after)
    planner.check_averages()
    return planner.plan()


def check_growth(sites: Sites, name: str, atom: Atom, after: int, options: WidthOptions) -> None:
    """Raise what `plan_width` would raise for this dimension by itself."""
    _Planner(sites, options).grow(name, atom, after)


class _Planner:
    def __init__(self, sites: Sites, options: WidthOptions, keep_eps: bool = False) -> None:
        self.sites, self.options, self.keep_eps = sites, options, keep_eps
        self.noise = NoiseSpec.of(options.noise)
        self.growing: dict[Atom, _Growing] = {}

    def grow(self, name: str, atom: Atom, after: int) -> None:
        """Choose how the dimension grows, and find what that asks for."""
        if atom.lock is not None:
            raise FixedDimensionError(f"'{name}' ({atom.size}) can't grow: {atom.lock}.")
        if after < atom.size:
            raise SizeError(
                f"'{name}' has size {atom.size}; {after} is smaller, and growth never shrinks. Ask for more."
            )
        if after == atom.size:
            return
        reasons: dict[str, str] = {}
        chosen = self.options.ways.get(name, self.options.how)
        for how in (chosen,) if chosen else ("zero_out", "zero_in", "split"):
            try:
                self._grow(name, atom, after, how)
                return
            except NotPossible as reason:
                reasons.setdefault(str(reason), how)
        raise self._refusal(name, atom, after, [f"{how}: {reason}" for reason, how in reasons.items()])

    def _grow(self, name: str, atom: Atom, after: int, how: str) -> None:
        uniform = bool(self.sites.averaged(atom))
        way = how_of(how)
        needs: SplitNeeds | FreshNeeds
        if way.copies:
            if uniform and after % atom.size:
                where = self.sites.averaged(atom)[0].node.where
                raise NotPossible(f"it is averaged over ({where}), so copies must come in whole multiples")
            needs = self.sites.split_needs(atom)
        elif way.zeros is None:
            needs = FreshNeeds(contracted=self.sites.contracted(atom))
        else:
            needs = self.sites.fresh_needs(atom, inward=way.zeros in ("in", "both"))
            if self.keep_eps and self.options.how is None and any(norm.eps != 0.0 for norm in needs.norms):
                raise NotPossible("the config can't carry the eps that the norms over new units would need")
            if way.cancels and (uniform or set(needs.rules) - needs.contracted):
                raise NotPossible("pairs of new units are not silent where it is averaged over or multiplied by itself")
        request = UnitRequest(name, atom.size, after, uniform, self.options.shares, self.options.seed)
        self.growing[atom] = _Growing(name, way, way.make(request), needs)

    def _refusal(self, name: str, atom: Atom, after: int, reasons: list[str]) -> SizeError | FixedDimensionError:
        text = f"'{name}' can't grow from {atom.size} to {after}: {'; '.join(reasons)}."
        try:
            self.sites.split_needs(atom)
        except NotPossible:
            return FixedDimensionError(text)
        low = after // atom.size * atom.size
        sizes = [s for s in (low, low + atom.size) if s > atom.size]
        return SizeError(f"{text} Sizes that work: {' or '.join(map(str, sizes))} (how='split').")

    def check_averages(self) -> None:
        """Every axis that is averaged over must hold each old place equally often, or be silent in its new places."""
        for atom, growing in list(self.growing.items()):
            for site in self.sites.averaged(atom):
                together = [a for a in dict.fromkeys(atoms(site.term)) if a in self.growing]
                if len(together) == 1 and not growing.how.copies:
                    continue
                if self.options.how is None:  # new units can't share an average with copies
                    for other in together:
                        self._as_split(other)
                source = self._axis(site.term, None).source
                counts = np.bincount(source[source >= 0])
                exact = all(self.growing[a].how.preserves == "exact" for a in together)
                if exact and ((source < 0).any() or counts.min() != counts.max()):
                    raise self._uneven(site, together)

    def _as_split(self, atom: Atom) -> None:
        growing = self.growing[atom]
        if not growing.how.copies and not growing.how.cancels and growing.how.zeros is not None:
            try:
                self._grow(growing.name, atom, growing.units.size, "split")
            except NotPossible as reason:
                raise self._refusal(growing.name, atom, growing.units.size, [f"split: {reason}"]) from None

    def _uneven(self, site: Normalisation | Reduction, together: list[Atom]) -> SizeError:
        names = sorted({self.growing[a].name for a in together})
        others = sorted({str(a.size) for a in atoms(site.term) if a not in self.growing})
        hint = f" The other parts of that axis (sizes {', '.join(others)}) must grow too." if others else ""
        return SizeError(
            f"{', '.join(repr(n) for n in names)}: {site.node.where} averages over an axis in which not every place "
            f"would be copied equally often. Grow its parts by one common multiple.{hint}"
        )

    def plan(self) -> Plan:
        """The plan for every tensor that the growing dimensions run through."""
        tensors = {}
        for name, value in self.sites.inference.graph.state.items():
            maps: list[AxisMap | None] = []
            for axis, term in enumerate(self.sites.inference.of(value)):
                touched = any(a in self.growing for a in atoms(term))
                found = self._placed(term, (name, axis)) if touched else None
                maps.append(_silent(found) if found is not None and value.zeros else found)
            if any(m is not None for m in maps):
                shape = tuple(s if m is None else len(m.source) for s, m in zip(value.shape, maps, strict=True))
                noise, blank = self._noise(value, maps), self.sites.blank_rows(name)
                tensors[name] = TensorPlan(shape, tuple(maps), 1.0, self._offset(name), noise, blank=blank)
        attributes = self._rescale_norms(tensors)
        widenings = tuple(
            Widening(g.name, atom.size, g.units.size, g.how.name, AxisMap(g.units.source), self._promise_of(g.how))
            for atom, g in self.growing.items()
        )
        return Plan(tensors, widenings, self.options.seed, weakest(widenings), attributes, version=__version__)

    def _offset(self, name: str) -> float:
        """What is added to a stored gain before shares multiply it."""
        needs = [g.needs for g in self.growing.values()]
        return max((n.offsets.get(name, 0.0) for n in needs if isinstance(n, SplitNeeds)), default=0.0)

    def _promise_of(self, how: How) -> Preservation:
        noisy = how.copies and self.noise is not None and self.noise.kind == "paper"
        return "approximate" if noisy and how.preserves == "exact" else how.preserves

    def _placed(self, term: Term, place: Place) -> AxisMap:
        """The map of an axis of a tensor. In a fused tensor, shares and silence may concern some of its rows only."""
        found = self._axis(term, place)
        growing = [self.growing[a] for a in atoms(term) if a in self.growing]
        rows = next((g.needs.regions[place] for g in growing if place in g.needs.regions), None)
        if rows is None:
            return found
        inside = rows[compose(term, self._parents).source]
        factor = None if found.factor is None else np.where(inside, found.factor, 1.0)
        fresh = None
        if found.fresh is not None:
            fresh = np.where((found.fresh > 0) & ~inside, FRESH.index("random"), found.fresh).astype(np.uint8)
        gradient = self._axis(term, _NO_PLACE).gradient
        if gradient is not None:
            gradient = np.where(inside, 1.0 if found.gradient is None else found.gradient, gradient)
        return replace(found, factor=factor, fresh=fresh, gradient=gradient)

    def _parents(self, atom: Atom) -> AxisMap:
        """Which old unit stands for each unit, so that a new place can be found in the rows of a fused tensor."""
        growing = self.growing.get(atom)
        return AxisMap(np.arange(atom.size) if growing is None else np.maximum(growing.units.source, 0))

    def _axis(self, term: Term, place: Place | None) -> AxisMap:
        """The map of an axis; with no place, only where its entries come from."""
        return compose(term, lambda atom: self._atom(atom, place))

    def _atom(self, atom: Atom, place: Place | None) -> AxisMap:
        growing = self.growing.get(atom)
        if growing is None:
            return AxisMap(np.arange(atom.size))
        units, needs, how = growing.units, growing.needs, growing.how
        if place is None:
            return AxisMap(units.source)
        contracted = place in needs.contracted
        if isinstance(needs, SplitNeeds):
            if place in needs.roots and units.shares is not None:
                roots = np.sqrt(units.shares)
                return AxisMap(units.source, roots, gradient=roots)
            if contracted:
                return AxisMap(units.source, units.shares, contracted=True)
            if place in needs.carried:  # the gradient's share and the factor that the entries have cancel
                return AxisMap(units.source, units.shares)
            return AxisMap(units.source, gradient=units.shares)
        rule: Fresh = how.fill if how.cancels and contracted else needs.rules.get(place, how.fill)
        if how.zeros == "both" and rule == "random":
            rule = "zero"
        fresh = np.where(units.source < 0, FRESH.index(rule), 0).astype(np.uint8)
        partner = units.partner
        if how.cancels and partner is not None and contracted:
            alone = (units.source < 0) & (partner < 0)
            alone[partner[partner >= 0]] = False
            fresh[alone] = FRESH.index("zero")  # an odd one out has no partner to cancel it
        return AxisMap(units.source, None, fresh, partner, -1 if contracted else 1, contracted)

    def _rescale_norms(self, tensors: dict[str, TensorPlan]) -> dict[str, dict[str, float]]:
        """New units that are 0 (at the mean) make a norm's average smaller; its gain and eps make up for that."""
        attributes: dict[str, dict[str, float]] = {}
        for atom, norm in self._rescaled():
            ratio = atom.size / self.growing[atom].units.size
            assert norm.gain is not None
            tensors[norm.gain.name] = replace(tensors[norm.gain.name], scale=math.sqrt(ratio), offset=norm.gain_offset)
            attributes.setdefault(norm.node.module, {}).update(self.sites.scaled_eps(norm, ratio))
        return attributes

    def _rescaled(self) -> list[tuple[Atom, Normalisation]]:
        return [
            (atom, norm)
            for atom, growing in self.growing.items()
            if isinstance(growing.needs, FreshNeeds) and growing.how.zeros is not None
            for norm in growing.needs.norms
        ]

    def _noise(self, value: Value, maps: list[AxisMap | None]) -> tuple[Noise, ...]:
        if self.noise is None or value.kind != "parameter" or len(value.shape) < 2:
            return ()
        wants_contracted = self.noise.kind == "zero_sum"
        return tuple(
            Noise("zero_sum" if wants_contracted else "paper", axis, self.noise.scale)
            for axis, m in enumerate(maps)
            if m is not None and m.contracted == wants_contracted and m.has_copies
        )


def _silent(axis: AxisMap) -> AxisMap:
    """The map of an axis whose new places are 0."""
    if axis.fresh is None:
        return axis
    return replace(axis, fresh=np.where(axis.fresh > 0, FRESH.index("zero"), 0).astype(np.uint8))
