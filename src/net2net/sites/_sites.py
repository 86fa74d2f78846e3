"""Where each dimension is mixed, and what its growth asks of the weights around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn

from net2net.axes import (
    Atom,
    Contraction,
    Flow,
    Inference,
    Normalisation,
    Reduction,
    atoms,
    base_name,
    flow_of,
    holds_constants,
    resolve,
)
from net2net.capture import Node, Value
from net2net.plan import Fresh
from net2net.sites._region import Mask
from net2net.sites._roots import rooted
from net2net.sites._scaling import Scaling
from net2net.sites._silence import Silence
from net2net.sites._trace import NotPossible, axes_with, only_summed, summed_at

Place = tuple[str, int]  # tensor, axis
Site = TypeVar("Site", Contraction, Reduction, Normalisation)


@dataclass
class SplitNeeds:
    """Places whose entries take the shares of the copies: `contracted` axes, and others that carry them.

    At `roots` they take the roots of the shares. `regions` says which rows of a fused tensor are meant.
    """

    contracted: set[Place] = field(default_factory=set)
    carried: set[Place] = field(default_factory=set)
    roots: set[Place] = field(default_factory=set)
    offsets: dict[str, float] = field(default_factory=dict)
    regions: dict[Place, Mask] = field(default_factory=dict)


@dataclass
class FreshNeeds:
    """How new entries are filled at places where it matters, and which norms are rescaled."""

    rules: dict[Place, Fresh] = field(default_factory=dict)
    contracted: set[Place] = field(default_factory=set)
    norms: list[Normalisation] = field(default_factory=list)
    regions: dict[Place, Mask] = field(default_factory=dict)


def _is_square(value: Value) -> bool:
    node = value.producer
    if node is None:
        return False
    name = base_name(node.op)
    return name == "aten.square" or (name == "aten.pow" and node.get("exponent") == 2)


def _by_atom(sites: list[Site]) -> dict[Atom, list[Site]]:
    found: dict[Atom, list[Site]] = defaultdict(list)
    for site in sites:
        for atom in dict.fromkeys(atoms(site.term)):
            found[atom].append(site)
    return found


def _viewed(value: Value) -> Value:
    """What a value is a view of."""
    while not value.is_state:
        node = value.producer
        if node is None or flow_of(node) is not Flow.PASS or len(node.inputs) != 1:
            return value
        value = node.inputs[0]
    return value


class Sites:
    """The contractions, reductions and normalisations of a network, by dimension."""

    def __init__(self, inference: Inference, model: nn.Module) -> None:
        self.inference = inference
        self.model = model
        self.contractions = _by_atom(inference.contractions)
        self.reductions = _by_atom(inference.reductions)
        self.normalisations = _by_atom(inference.normalisations)

    def averaged(self, atom: Atom) -> list[Normalisation | Reduction]:
        """The sites that copies leave unchanged only if every unit is copied equally often."""
        means = [r for r in self.reductions[atom] if r.kind in ("mean", "moments")]
        return [*self.normalisations[atom], *means]

    def stored(self, value: Value, axis: int, atom: Atom) -> Place | None:
        """The tensor of the model that the value is, seen through views, if the atom is on one axis of it."""
        while not value.is_state:
            node = value.producer
            if node is None or flow_of(node) is not Flow.PASS or len(node.inputs) != 1:
                return None
            before, value = value, node.inputs[0]
            found = axes_with(self.inference, value, atom)
            same = [d for d in found if self.inference.of(value)[d] is self.inference.of(before)[axis]]
            if len(same or found) != 1:
                return None
            axis = (same or found)[0]
        return value.name, axis

    def contracted(self, atom: Atom) -> set[Place]:
        """The places of the atom that are summed over and nothing else: a weight's input side."""
        places = set()
        for site in self.contractions[atom]:
            value, axis = site.weight
            place = self.stored(value, axis, atom)
            if place is None or holds_constants(self.inference.graph.state[place[0]]):
                continue
            if only_summed(self.inference, value, axis, atom) and self._alone(place, atom):
                places.add(place)
        return places

    def _measured_by(self, value: Value, atom: Atom) -> list[Value]:
        """The stored weights that a buffer is multiplied with, and that is all that it is for: where these are 0 it may
        be 0 too. So is the right vector of spectral norm, and power iteration keeps its zeros.

        Raises:
            NotPossible: the buffer holds constants of another kind, which new units have none of.
        """
        pairs = [
            (a, b)
            for s in self.contractions[atom]
            if s.other is not None
            for a, b in ((s.weight, s.other), (s.other, s.weight))
        ]
        others = [b[0] for a, b in pairs if (place := self.stored(*a, atom)) and place[0] == value.name]
        summed = all(only_summed(self.inference, value, d, atom) for d in axes_with(self.inference, value, atom))
        if not others or not summed or not all(other in self.inference.weights for other in others):
            raise NotPossible(f"the buffer '{value.name}' holds constants, which new units have none of")
        weights = [_viewed(other) for other in others]
        if not all(weight.is_state for weight in weights):
            raise NotPossible(
                f"'{value.name}' measures a weight, as spectral norm does: its result would change with new or copied "
                "rows, and so would the whole weight. Grow this layer without it, and put it on the student's layer"
            )
        return weights

    def _alone(self, place: Place, atom: Atom) -> bool:
        return only_summed(self.inference, self.inference.graph.state[place[0]], place[1], atom)

    def blank_rows(self, name: str) -> tuple[int, ...]:
        """Rows of a table that stand for padding. They get no gradient, so that new entries are 0 for good."""
        rows = set()
        for node in self.inference.graph.nodes:
            row = node.get("padding_idx") if node.op in ("aten.embedding", "aten.embedding_bag") else None
            if row is not None and row != -1:
                place = self._table(node["weight"])
                if place is not None and place.name == name:
                    rows.add(row % place.shape[0])
        return tuple(sorted(rows))

    def _table(self, value: Value) -> Value | None:
        """The stored tensor that a table is, seen through casts."""
        while not value.is_state:
            node = value.producer
            if node is None or flow_of(node) is not Flow.PASS or len(node.inputs) != 1 or not node.inputs[0].shape:
                return None
            if node.inputs[0].shape != value.shape:
                return None
            value = node.inputs[0]
        return value

    def scaled_eps(self, norm: Normalisation, ratio: float) -> dict[str, float]:
        """The attribute of the norm's module that holds its eps, with the value for an average over more units.

        Raises:
            NotPossible: the eps is no attribute of the module, so that it can't be set.
        """
        eps = norm.eps
        if eps == 0.0:
            return {}
        held = vars(self.model.get_submodule(norm.node.module))
        if eps is None and "eps" in held and held["eps"] is None:
            return {"eps": torch.finfo(norm.value.dtype).eps * ratio}
        named = [name for name in held if any(part.startswith("eps") for part in name.lower().split("_"))]
        others = [name for name in held if name not in named]
        for names in (named, others):  # another number may happen to have the same value
            found = [name for name in names if isinstance(held[name], float) and held[name] == eps]
            if len(found) == 1:
                return {found[0]: held[found[0]] * ratio}
            if found:
                raise NotPossible(f"{norm.node.where} has an eps of {eps}, and its module has several such: {found}")
        raise NotPossible(f"{norm.node.where} has an eps of {eps} that is no attribute of its module")

    def split_needs(self, atom: Atom) -> SplitNeeds:
        """What a split of the atom asks for.

        Raises:
            NotPossible: some sum over the copies can't be compensated.
        """
        try:
            return self._shares(atom)
        except NotPossible:
            try:
                return SplitNeeds(roots=rooted(self.inference, atom))
            except NotPossible:
                pass
            raise

    def _shares(self, atom: Atom) -> SplitNeeds:
        """A split in which each sum has one weight that takes the shares."""
        needs = SplitNeeds(self.contracted(atom))
        left = [c for c in self.contractions[atom] if self.stored(*c.weight, atom) not in needs.contracted]
        done: set[Value] = set()
        for site in left:
            if any(v in done for v in (site.weight[0], *([site.other[0]] if site.other else []))):
                continue
            done.add(self._carry(site, left, atom, needs))
        for reduction in self.reductions[atom]:
            if reduction.kind == "norm":
                raise NotPossible(f"{reduction.node.where} takes a norm over it, in which copies would count twice")
            if reduction.kind == "sum":
                scaling = Scaling(self.inference)
                scaling.along(reduction.value, atom, reduction.node)
                self._add(scaling, needs)
        return needs

    def _carry(self, site: Contraction, left: list[Contraction], atom: Atom, needs: SplitNeeds) -> Value:
        """Put the shares on one operand of a sum whose weight can't take them (it is tied, or is no weight)."""
        reasons = []
        for operand in (site.weight, site.other):
            if operand is None:
                continue
            value, axis = operand
            if not only_summed(self.inference, value, axis, atom):
                reasons.append(f"{value.name} is used elsewhere too")
                continue
            readers = [summed_at(self.inference, n, value, axis, atom) for n in value.consumers]
            if any(r is not None and r not in left for r in readers):
                reasons.append(f"{value.name} is read by another layer, which takes its own shares")
                continue
            scaling = Scaling(self.inference)
            try:
                scaling.along(value, atom, None)
                self._add(scaling, needs)
                return value
            except NotPossible as reason:
                reasons.append(str(reason))
        raise NotPossible(f"{site.node.where} sums over it and no weight can take the shares: {'; '.join(reasons)}")

    def _add(self, scaling: Scaling, needs: SplitNeeds) -> None:
        if scaling.spots & (needs.contracted | needs.carried):
            raise NotPossible("a weight would have to take the shares twice")
        needs.carried |= scaling.spots
        needs.offsets.update(scaling.offsets)
        needs.regions.update(scaling.regions)

    def _counted(self, atom: Atom) -> Node | None:
        """The norm, or sum of squares, that new units enter before anything could silence them on the way out."""
        for reduction in self.reductions[atom]:
            if reduction.kind == "norm" or (reduction.kind == "sum" and _is_square(reduction.value)):
                return reduction.node
        alike = (c.node for c in self.contractions[atom] if c.other is not None and c.other[0] is c.weight[0])
        return next(alike, None)

    def fresh_needs(self, atom: Atom, *, inward: bool = False, known: Collection[str] = ()) -> FreshNeeds:
        """What new, silent units of the atom ask for: zeros on the way out, or `inward` on the way in.

        `known` are buffers whose entries for new units are given.

        Raises:
            NotPossible: they would change the function wherever they are silenced.
        """
        silence = Silence(self.inference, atom)
        for value in self.inference.graph.state.values():
            if holds_constants(value) and value.name not in known and axes_with(self.inference, value, atom):
                for measured in self._measured_by(value, atom):
                    silence.require(measured, "zero")
                silence.require(value, "zero")
        for norm in self.normalisations[atom]:
            if resolve(norm.term) is not atom:
                raise NotPossible(f"{norm.node.where} normalises over more than this dimension")
            if norm.gain is None:
                raise NotPossible(f"{norm.node.where} has no gain that could be rescaled")
            self.scaled_eps(norm, 1.0)
            silence.require(norm.value, "zero" if norm.kind == "rms" else "mean")
            if norm.shift is not None:
                silence.require(norm.shift, "zero")
        counted = None if inward else self._counted(atom)
        if counted is not None:
            raise NotPossible(f"{counted.where} counts every unit that isn't 0 (zeros on the way in do: how='zero_in')")
        for reduction in self.reductions[atom]:
            if reduction.kind not in ("mean", "sum", "norm"):
                raise NotPossible(f"{reduction.node.where} compares or averages all its units")
            silence.require(reduction.value, "mean" if reduction.kind == "mean" else "zero")
        contracted = self.contracted(atom)
        rules: dict[Place, Fresh] = {}
        for site in self.contractions[atom]:
            place = self.stored(*site.weight, atom)
            other = site.other[0] if site.other else None
            if inward and other is not None and place in contracted:
                silence.require(other, "zero")
            quiet = other is not None and silence.holds(other)
            if place in contracted and place is not None:
                rules[place] = "random" if quiet and rules.get(place) != "zero" else "zero"
            elif not quiet and not silence.holds(site.weight[0]):
                operands = [site.weight[0], *([other] if other is not None else [])]
                silence.require_any(sorted(operands, key=lambda v: v.is_state), site.node)
        return FreshNeeds({**silence.rules, **rules}, contracted, self.normalisations[atom], silence.regions)
