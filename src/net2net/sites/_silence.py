"""Where silence can be put: the weights that must be 0, or a mean, for new units to be so at a value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from net2net.axes import Atom, Flow, Inference, atoms, flow_of, resolve
from net2net.capture import Node, Value
from net2net.sites._region import Mask, region_of
from net2net.sites._trace import (
    NotPossible,
    axes_with,
    carries,
    factors_of,
    makes_zeros,
    merged,
    multiplied,
    norm_behind,
    passed_by,
    shifts_of,
    summed_at,
)

State = Literal["zero", "mean"]


def is_parameter(value: Value) -> bool:
    """Whether a value is a tensor of the model, seen through views and casts."""
    while not value.is_state:
        node = value.producer
        if node is None or len(node.inputs) != 1:
            return False
        value = node.inputs[0]
    return True


@dataclass
class Silence:
    """What new units must be at the weights that make them, so that they are 0 (or the mean of the old units) at a
    given value."""

    inference: Inference
    atom: Atom
    rules: dict[tuple[str, int], State] = field(default_factory=dict)
    silent: set[tuple[Value, State]] = field(default_factory=set)
    regions: dict[tuple[str, int], Mask] = field(default_factory=dict)

    def require(self, value: Value, state: State) -> None:
        """Make the new units of a value 0 or the mean of the old ones.

        Raises:
            NotPossible: an operation on the way doesn't keep that.
        """
        if (value, state) in self.silent or not carries(self.inference, value, self.atom):
            return
        if value in self.inference.graph.mutated:
            raise NotPossible(f"{value.name} is written to in place")
        self.silent.add((value, state))
        region = region_of(self.inference, value, zeros=True) if state == "zero" else None
        if region is not None:
            for place in region.places:
                self._region_rule(place, region.rows)
        elif value.is_state and not value.zeros:  # a state may be something else at the next call
            self._rule(value, state)
        elif value.producer is None:
            raise NotPossible(f"{value.name} is not a result of trained weights")
        else:
            self._through(value.producer, state)

    def holds(self, value: Value) -> bool:
        """Whether the new units of a value are 0 with what has been required so far."""
        before = self._saved()
        try:
            self.require(value, "zero")
            same_rows = all(r is before[2].get(place) for place, r in self.regions.items())
            silent = self.rules == before[0] and same_rows
        except NotPossible:
            silent = False
        if not silent:
            self.rules, self.silent, self.regions = before
        return silent

    def _vanishes(self, value: Value) -> bool:
        """Whether a division by the new units of a value is one by 0, or by the little that is there instead."""
        norm = norm_behind(value)
        if norm is None:
            return self.holds(value)
        return carries(self.inference, norm.output, self.atom) and self.holds(norm.inputs[0])

    def _saved(
        self,
    ) -> tuple[dict[tuple[str, int], State], set[tuple[Value, State]], dict[tuple[str, int], Mask]]:
        return dict(self.rules), set(self.silent), dict(self.regions)

    def _region_rule(self, place: tuple[str, int], rows: Mask) -> None:
        """New units are 0 in some rows of a fused tensor only."""
        known = self.rules.get(place)
        if known == "mean":
            raise NotPossible(f"new units of '{place[0]}' would have to be both 0 and a mean")
        if known is None:
            self.regions[place] = rows
        elif place in self.regions and (rows & ~self.regions[place]).any():
            self.regions[place] = self.regions[place] | rows
        self.rules[place] = "zero"

    def require_any(self, values: list[Value], node: Node) -> None:
        """Make the new units of one of the values 0, rather of one with no ReLU behind the zeros.

        Where one weight makes both, all new units would be alike, and stay so: neither is better then.
        """
        asked = [self._asked(value) for value in values]
        shared = frozenset[tuple[str, int]]().union(*(a & b for i, (a, _) in enumerate(asked) for b, _ in asked[:i]))
        bent = {
            value: not straight or bool(places & shared)
            for value, (places, straight) in zip(values, asked, strict=True)
        }
        self._any(sorted(values, key=bent.__getitem__), "zero", node)

    def _asked(self, value: Value) -> tuple[frozenset[tuple[str, int]], bool]:
        """What would have to be 0 for new units of a value to be so, and whether nothing bent (an activation) stands
        between the two."""
        before = self._saved()
        try:
            self.require(value, "zero")
            places, passed = frozenset(self.rules.keys() - before[0].keys()), self.silent - before[1]
        except NotPossible:
            return frozenset(), False
        finally:
            self.rules, self.silent, self.regions = before
        return places, not any(v.producer is not None and flow_of(v.producer) is Flow.ZERO for v, _ in passed)

    def _rule(self, value: Value, state: State) -> None:
        for axis in axes_with(self.inference, value, self.atom):
            self.regions.pop((value.name, axis), None)
            if self.rules.setdefault((value.name, axis), state) != state:
                raise NotPossible(f"new units of '{value.name}' would have to be both 0 and a mean")
            if state == "mean" and resolve(self.inference.of(value)[axis]) is not self.atom:
                raise NotPossible(f"axis {axis} of '{value.name}' holds more than this dimension")

    def _through(self, node: Node, state: State) -> None:
        flow = flow_of(node)
        sources = passed_by(node) if flow in (Flow.PASS, Flow.ZERO) else node.inputs
        inputs = [v for v in sources if carries(self.inference, v, self.atom)]
        if flow is Flow.PASS or (flow is Flow.ZERO and state == "zero"):
            if not inputs and state == "zero":
                raise NotPossible(f"{node.where} repeats the same value for every unit")
            if len(inputs) < len(merged(node)):
                raise NotPossible(f"{node.where} puts something in every unit")
            for value in inputs:
                self.require(value, state)
        elif flow is Flow.SUM:
            if state == "zero" and (len(inputs) < 2 or len(node.inputs) > len(inputs)):
                raise NotPossible(f"{node.where} adds something to every unit")
            for value in inputs:
                self.require(value, state)
        elif flow is Flow.PRODUCT:
            if state == "mean" and len(inputs) != 1:
                raise NotPossible(f"{node.where} multiplies unit by unit, which doesn't keep a mean")
            scaled = multiplied(node, inputs)
            self._any(sorted(scaled, key=is_parameter), state, node)
            if any(self._vanishes(v) for v in inputs if "div" in node.op and v not in scaled):
                raise NotPossible(f"{node.where} would divide new units by 0")
        elif flow is Flow.AFFINE:
            self._through_norm(node, state)
        elif flow is Flow.CONTRACT:
            self._through_product(node, state)
        elif makes_zeros(node):
            return
        else:
            raise NotPossible(f"{node.where} doesn't keep new units {'silent' if state == 'zero' else 'at the mean'}")

    def _through_norm(self, node: Node, state: State) -> None:
        over = any(n.node is node and self.atom in atoms(n.term) for n in self.inference.normalisations)
        if state == "mean":
            raise NotPossible(f"new units leave {node.where} at 0, not at the mean")
        gain, shift = node.get("weight"), node.get("bias")
        if shift is not None:
            if not carries(self.inference, shift, self.atom):
                raise NotPossible(f"{node.where} adds something to every unit")
            self.require(shift, "zero")
        if over:  # its own requirement makes new units leave the normalisation at 0
            return
        if gain is None or not carries(self.inference, gain, self.atom):
            raise NotPossible(f"{node.where} has no gain that could silence a unit")
        self.require(gain, "zero")

    def _through_product(self, node: Node, state: State) -> None:
        factors = [
            v
            for v in factors_of(node)
            if any(
                summed_at(self.inference, node, v, d, self.atom) is None
                for d in axes_with(self.inference, v, self.atom)
            )
        ]
        if state == "mean" and len(factors) != 1:
            raise NotPossible(f"{node.where} treats every unit by itself, which doesn't keep a mean")
        self._any(sorted(factors, key=lambda v: not v.is_state), state, node)
        for value in shifts_of(node):
            if not carries(self.inference, value, self.atom):
                raise NotPossible(f"{node.where} adds something to every unit")
            self.require(value, state)

    def _any(self, values: list[Value], state: State, node: Node) -> None:
        reasons = []
        for value in values:
            before = self._saved()
            try:
                self.require(value, state)
                return
            except NotPossible as reason:
                self.rules, self.silent, self.regions = before
                reasons.append(str(reason))
        raise NotPossible("; ".join(reasons) or f"{node.where} has no factor with the dimension")
