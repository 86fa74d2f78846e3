"""Following a value back to the weights that make it: where a factor, or silence, can be put."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from net2net.axes import Atom, Contraction, Flow, Inference, atoms, flow_of, resolve
from net2net.capture import Node, Value

Spot = tuple[str, int, Atom]  # tensor, axis, and the atom in that axis
State = Literal["zero", "mean"]


class NotPossible(Exception):  # noqa: N818 - control flow inside this package, never seen by users
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


@dataclass
class Scaling:
    """The tensors that must be multiplied for a value to be multiplied: per unit of an atom, or as a whole."""

    inference: Inference
    spots: set[tuple[str, int]] = field(default_factory=set)
    wholes: set[str] = field(default_factory=set)

    def along(self, value: Value, atom: Atom, user: Node | None) -> None:
        """Multiply the units of `atom` in a value that only `user` (or the caller's own sites) reads.

        Raises:
            NotPossible: some other reader would feel it, or an operation on the way doesn't let a factor pass.
        """
        self._trace(value, atom, user)

    def whole(self, value: Value, user: Node) -> None:
        """Multiply the whole of a value that only `user` reads."""
        self._trace(value, None, user)

    def _trace(self, value: Value, atom: Atom | None, user: Node | None) -> None:
        if user is not None and any(node is not user for node in value.consumers):
            raise NotPossible(f"{value.name} is read by other operations too")
        if value in self.inference.graph.outputs.values() or value in self.inference.graph.mutated:
            raise NotPossible(f"{value.name} is an output, or is written to in place")
        if value.is_state:
            self._put(value, atom)
            return
        node = value.producer
        if node is None:
            raise NotPossible(f"{value.name} is no result of trained weights")
        self._through(node, atom)

    def _put(self, value: Value, atom: Atom | None) -> None:
        if atom is None:
            self.wholes.add(value.name)
            return
        axes = axes_with(self.inference, value, atom)
        if len(axes) != 1:
            raise NotPossible(f"'{value.name}' has the dimension on {len(axes)} axes")
        self.spots.add((value.name, axes[0]))

    def _through(self, node: Node, atom: Atom | None) -> None:
        flow = flow_of(node)
        inputs = [v for v in node.inputs if atom is None or carries(self.inference, v, atom)]
        if flow is Flow.PASS and len(node.outputs) == 1:
            for value in inputs:
                self._trace(value, atom, node)
        elif flow is Flow.SUM:
            if len(inputs) < 2 and atom is not None:
                raise NotPossible(f"{node.where} adds something that doesn't have the dimension")
            for value in inputs:
                self._trace(value, atom, node)
        elif flow is Flow.PRODUCT:
            self._first_possible(inputs[:1] if "div" in node.op else inputs, atom, node)
        elif flow is Flow.AFFINE:
            gain, shift = node.get("weight"), node.get("bias")
            if gain is None:
                raise NotPossible(f"{node.where} has no gain to scale")
            for value in (gain, shift):
                if value is not None:
                    self._trace(value, atom, node)
        elif flow is Flow.CONTRACT:
            self._through_product(node, atom)
        else:
            raise NotPossible(f"{node.where} doesn't let a factor pass")

    def _through_product(self, node: Node, atom: Atom | None) -> None:
        shifts = [v for v in (node.get("bias"), node.get("self") if "mm" in node.op else None) if isinstance(v, Value)]
        if node.op in ("aten.mm", "aten.bmm", "aten.matmul"):
            shifts = []
        factors = [v for v in node.inputs if not any(v is s for s in shifts)]
        if atom is not None:
            factors = [
                v
                for v in factors
                if any(
                    summed_at(self.inference, node, v, d, atom) is None for d in axes_with(self.inference, v, atom)
                )
            ]
        self._first_possible(sorted(factors, key=lambda v: not v.is_state), atom, node)
        for value in shifts:
            self._trace(value, atom, node)

    def _first_possible(self, values: list[Value], atom: Atom | None, node: Node) -> None:
        reasons = []
        for value in values:
            before = set(self.spots), set(self.wholes)
            try:
                self._trace(value, atom, node)
                return
            except NotPossible as reason:
                self.spots, self.wholes = before
                reasons.append(str(reason))
        raise NotPossible("; ".join(reasons) or f"{node.where} has no factor with the dimension")


@dataclass
class Silence:
    """What new units must be at the weights that make them, so that they are 0 (or the mean of the old units) at a
    given value."""

    inference: Inference
    atom: Atom
    rules: dict[tuple[str, int], State] = field(default_factory=dict)
    silent: set[tuple[Value, State]] = field(default_factory=set)

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
        if value.is_state:
            self._rule(value, state)
        elif value.producer is None:
            raise NotPossible(f"{value.name} is no result of trained weights")
        else:
            self._through(value.producer, state)

    def holds(self, value: Value) -> bool:
        """Whether the new units of a value are 0 with what has been required so far."""
        before = dict(self.rules), set(self.silent)
        try:
            self.require(value, "zero")
            silent = self.rules == before[0]
        except NotPossible:
            silent = False
        if not silent:
            self.rules, self.silent = before
        return silent

    def require_any(self, values: list[Value], node: Node) -> None:
        """Make the new units of one of the values 0."""
        self._any(values, "zero", node)

    def _rule(self, value: Value, state: State) -> None:
        for axis in axes_with(self.inference, value, self.atom):
            if self.rules.setdefault((value.name, axis), state) != state:
                raise NotPossible(f"new units of '{value.name}' would have to be both 0 and a mean")
            if state == "mean" and resolve(self.inference.of(value)[axis]) is not self.atom:
                raise NotPossible(f"axis {axis} of '{value.name}' holds more than this dimension")

    def _through(self, node: Node, state: State) -> None:
        flow = flow_of(node)
        inputs = [v for v in node.inputs if carries(self.inference, v, self.atom)]
        if flow is Flow.PASS or (flow is Flow.ZERO and state == "zero"):
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
            self._any(inputs[:1] if "div" in node.op else sorted(inputs, key=lambda v: v.is_state), state, node)
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
            self.require(shift, "zero")
        if over:  # its own requirement makes new units leave the normalisation at 0
            return
        if gain is None:
            raise NotPossible(f"{node.where} has no gain that could silence a unit")
        self.require(gain, "zero")

    def _through_product(self, node: Node, state: State) -> None:
        shifts = [v for v in (node.get("bias"), node.get("self") if "addmm" in node.op or "baddbmm" in node.op else None)]
        shifts = [v for v in shifts if isinstance(v, Value)]
        factors = [
            v
            for v in node.inputs
            if not any(v is s for s in shifts)
            and any(
                summed_at(self.inference, node, v, d, self.atom) is None
                for d in axes_with(self.inference, v, self.atom)
            )
        ]
        if state == "mean" and len(factors) != 1:
            raise NotPossible(f"{node.where} treats every unit by itself, which doesn't keep a mean")
        self._any(sorted(factors, key=lambda v: not v.is_state), state, node)
        for value in shifts:
            if not carries(self.inference, value, self.atom):
                raise NotPossible(f"{node.where} adds something to every unit")
            self.require(value, state)

    def _any(self, values: list[Value], state: State, node: Node) -> None:
        reasons = []
        for value in values:
            before = dict(self.rules), set(self.silent)
            try:
                self.require(value, state)
                return
            except NotPossible as reason:
                self.rules, self.silent = before
                reasons.append(str(reason))
        raise NotPossible("; ".join(reasons) or f"{node.where} has no factor with the dimension")
