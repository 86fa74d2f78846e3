"""Following a value back to the weights that make it: where a factor, or silence, can be put."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from net2net.axes import Atom, Contraction, Flow, Inference, atoms, flow_of, resolve, stored_gain
from net2net.capture import Node, Value
from net2net.plan._region import Mask, region_of

Spot = tuple[str, int, Atom]  # tensor, axis, and the atom in that axis
State = Literal["zero", "mean"]


class NotPossible(Exception):
    """The value can't be traced back; the message says why."""


def axes_with(inference: Inference, value: Value, atom: Atom) -> list[int]:
    """The axes of a value that the atom is a part of."""
    return [d for d, term in enumerate(inference.of(value)) if any(a is atom for a in atoms(term))]


def carries(inference: Inference, value: Value, atom: Atom) -> bool:
    """Whether the atom is a part of an axis of the value."""
    return bool(axes_with(inference, value, atom))


def summed_at(inference: Inference, node: Node, value: Value, axis: int, atom: Atom) -> Contraction | None:
    """The contraction at `node` that sums over the atom in this axis of this operand."""
    for contraction in inference.contractions_at(node):
        if (value, axis) in (contraction.weight, contraction.other) and any(a is atom for a in atoms(contraction.term)):
            return contraction
    return None


def only_summed(inference: Inference, value: Value, axis: int, atom: Atom) -> bool:
    """Whether every use of the value sums over the atom in this axis, so that factors put there are felt nowhere else."""
    if not value.consumers or value in inference.graph.outputs.values() or value in inference.graph.mutated:
        return False
    for node in value.consumers:
        contraction = summed_at(inference, node, value, axis, atom)
        if contraction is not None:
            if contraction.other is not None and contraction.other[0] is contraction.weight[0]:
                return False  # a product of the value with itself would feel the factor twice
            continue
        if flow_of(node) is not Flow.PASS:
            return False
        for output in node.outputs:
            after = axes_with(inference, output, atom)
            if len(after) > 1:
                after = [d for d in after if inference.of(output)[d] is inference.of(value)[axis]]
            if after and (len(after) > 1 or not only_summed(inference, output, after[0], atom)):
                return False
        if not any(carries(inference, output, atom) for output in node.outputs):
            return False
    return True


def passed_by(node: Node) -> list[Value]:
    """What an operation that passes units on takes them from; a second operand may only lend its shape or dtype."""
    joins = node.op in ("aten.cat", "aten.concat", "aten.concatenate", "aten.stack")
    return node.inputs if joins else node.inputs[:1]


def factors_of(node: Node) -> list[Value]:
    """The operands of a product: where one is scaled or 0, so is the result."""
    if node.op == "aten.scaled_dot_product_attention":
        return [node["value"]]
    shifts = shifts_of(node)
    return [v for v in node.inputs if v.dtype.is_floating_point and not any(v is s for s in shifts)]


def shifts_of(node: Node) -> list[Value]:
    """What a product adds to its result: a bias."""
    added = [node.get("bias")]
    if node.op.startswith(("aten.addmm", "aten.baddbmm")):
        added.append(node.get("self"))
    return [v for v in added if isinstance(v, Value)]


@dataclass
class Scaling:
    """The tensors that must be multiplied for a value to be multiplied: per unit of an atom (`spots`), or as a whole
    (`wholes`, with the power of the factor). `offsets` are added to a stored gain before it is multiplied (`1 + w`); `regions`
    says which rows of a fused tensor are meant."""

    inference: Inference
    spots: set[tuple[str, int]] = field(default_factory=set)
    wholes: dict[str, int] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)
    regions: dict[tuple[str, int], Mask] = field(default_factory=dict)

    def along(self, value: Value, atom: Atom, user: Node | None) -> None:
        """Multiply the units of `atom` in a value that only `user` (or the caller's own sites) reads.

        Raises:
            NotPossible: some other reader would feel it, or an operation on the way doesn't let a factor pass.
        """
        self._trace_or_region(value, atom, user, 1)

    def whole(self, value: Value, user: Node, power: int = 1) -> None:
        """Multiply the whole of a value that only `user` reads."""
        self._trace_or_region(value, None, user, power)

    def _trace_or_region(self, value: Value, atom: Atom | None, user: Node | None, power: int) -> None:
        try:
            self._trace(value, atom, user, power)
        except NotPossible:
            region = region_of(self.inference, value)
            if region is None or (user is not None and any(node is not user for node in value.consumers)):
                raise
            for name, axis in region.places:
                self.regions[name, axis] = region.rows
                if atom is None:
                    self.wholes[name] = power
                else:
                    self.spots.add((name, axis))

    def _trace(self, value: Value, atom: Atom | None, user: Node | None, power: int) -> None:
        others = [node for node in value.consumers if node is not user] if user is not None else []
        if others and not (atom is None and value.is_state):
            raise NotPossible(f"{value.name} is read by other operations too")
        if value in self.inference.graph.outputs.values() or value in self.inference.graph.mutated:
            raise NotPossible(f"{value.name} is an output, or is written to in place")
        if value.is_state:
            self._put(value, atom, power)
            for node in others:  # a tied tensor: its other readers must not feel the factor
                self._undo(value, node, power)
            return
        node = value.producer
        if node is None:
            raise NotPossible(f"{value.name} is no result of trained weights")
        gain = stored_gain(value)
        if gain is not None and gain[1] != 0.0 and len(gain[0].consumers) == 1:
            self.offsets[gain[0].name] = gain[1]
            self._put(gain[0], atom, power)
        else:
            self._through(node, atom, power)

    def _put(self, value: Value, atom: Atom | None, power: int) -> None:
        if atom is None:
            if self.wholes.setdefault(value.name, power) != power:
                raise NotPossible(f"'{value.name}' would have to be multiplied and divided at once")
            return
        axes = axes_with(self.inference, value, atom)
        if len(axes) != 1:
            raise NotPossible(f"'{value.name}' has the dimension on {len(axes)} axes")
        self.spots.add((value.name, axes[0]))

    def _undo(self, value: Value, node: Node, power: int) -> None:
        """Divide the other factor of a product that reads a scaled tensor."""
        others = [v for v in node.inputs if v is not value]
        if node.op not in ("aten.linear", "aten.matmul", "aten.mm") or len(others) != 1:
            raise NotPossible(f"'{value.name}' is read by {node.where} too")
        self._trace(others[0], None, node, -power)

    def _through(self, node: Node, atom: Atom | None, power: int) -> None:
        flow = flow_of(node)
        inputs = [v for v in (passed_by(node) if flow is Flow.PASS else node.inputs) if v.dtype.is_floating_point]
        if atom is not None:
            inputs = [v for v in inputs if carries(self.inference, v, atom)]
        if flow is Flow.PASS and len(node.outputs) == 1:
            for value in inputs:
                self._trace_or_region(value, atom, node, power)
        elif flow is Flow.SUM:
            if len(inputs) < 2:
                raise NotPossible(f"{node.where} adds something that doesn't have the dimension")
            for value in inputs:
                self._trace(value, atom, node, power)
        elif flow is Flow.PRODUCT:
            self._first_possible(inputs[:1] if "div" in node.op else inputs, atom, node, power)
        elif flow is Flow.AFFINE:
            gain, shift = node.get("weight"), node.get("bias")
            if gain is None:
                raise NotPossible(f"{node.where} has no gain to scale")
            for value in (gain, shift):
                if value is not None:
                    self._trace(value, atom, node, power)
        elif flow is Flow.CONTRACT:
            self._through_product(node, atom, power)
        else:
            raise NotPossible(f"{node.where} doesn't let a factor pass")

    def _through_product(self, node: Node, atom: Atom | None, power: int) -> None:
        factors = factors_of(node)
        if atom is not None:
            factors = [
                v
                for v in factors
                if any(summed_at(self.inference, node, v, d, atom) is None for d in axes_with(self.inference, v, atom))
            ]
        self._first_possible(sorted(factors, key=lambda v: not v.is_state), atom, node, power)
        for value in shifts_of(node):
            self._trace(value, atom, node, power)

    def _first_possible(self, values: list[Value], atom: Atom | None, node: Node, power: int) -> None:
        reasons = []
        for value in values:
            before = set(self.spots), dict(self.wholes)
            try:
                self._trace_or_region(value, atom, node, power)
                return
            except NotPossible as reason:
                self.spots, self.wholes = before
                reasons.append(str(reason))
        raise NotPossible("; ".join(reasons) or f"{node.where} has no factor with the dimension")


def _is_parameter(value: Value) -> bool:
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
        region = region_of(self.inference, value) if state == "zero" else None
        if region is not None:
            for place in region.places:
                self._region_rule(place, region.rows)
        elif value.is_state:
            self._rule(value, state)
        elif value.producer is None:
            raise NotPossible(f"{value.name} is no result of trained weights")
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

    def _saved(self) -> tuple[dict[tuple[str, int], State], set[tuple[Value, State]], dict[tuple[str, int], Mask]]:
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
        """Make the new units of one of the values 0."""
        self._any(values, "zero", node)

    def _rule(self, value: Value, state: State) -> None:
        for axis in axes_with(self.inference, value, self.atom):
            self.regions.pop((value.name, axis), None)
            if self.rules.setdefault((value.name, axis), state) != state:
                raise NotPossible(f"new units of '{value.name}' would have to be both 0 and a mean")
            if state == "mean" and resolve(self.inference.of(value)[axis]) is not self.atom:
                raise NotPossible(f"axis {axis} of '{value.name}' holds more than this dimension")

    def _through(self, node: Node, state: State) -> None:
        flow = flow_of(node)
        sources = passed_by(node) if flow is Flow.PASS else node.inputs
        inputs = [v for v in sources if carries(self.inference, v, self.atom)]
        if flow is Flow.PASS or (flow is Flow.ZERO and state == "zero"):
            if not inputs and state == "zero":
                raise NotPossible(f"{node.where} repeats the same value for every unit")
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
            self._any(inputs[:1] if "div" in node.op else sorted(inputs, key=_is_parameter), state, node)
        elif flow is Flow.AFFINE:
            self._through_norm(node, state)
        elif flow is Flow.CONTRACT:
            self._through_product(node, state)
        elif not inputs and node.op.startswith(("aten.zeros", "aten.new_zeros")):
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
