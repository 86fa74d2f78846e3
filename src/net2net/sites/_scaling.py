"""Where a factor can be put: the weights that must be multiplied for a value to be multiplied."""

from __future__ import annotations

from dataclasses import dataclass, field

from net2net.axes import Atom, Flow, Inference, flow_of, holds_constants, stored_gain
from net2net.capture import Node, Value
from net2net.sites._region import Mask, region_of
from net2net.sites._trace import (
    NotPossible,
    axes_with,
    carries,
    factors_of,
    is_homogeneous,
    makes_zeros,
    merged,
    multiplied,
    passed_by,
    shifts_of,
    summed_at,
)


@dataclass
class Scaling:
    """The tensors that must be multiplied for a value to be multiplied: per unit of an atom (`spots`), or as a whole
    (`wholes`, with the power of the factor).

    `offsets` are added to a stored gain before it is multiplied (`1 + w`); `regions` says which rows of a fused tensor
    are meant. `alike` are readers of stored tensors that ask for the same factor, and `readers` those that did.
    """

    inference: Inference
    alike: frozenset[Node] = frozenset()
    spots: set[tuple[str, int]] = field(default_factory=set)
    wholes: dict[str, float] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)
    regions: dict[tuple[str, int], Mask] = field(default_factory=dict)
    readers: set[Node] = field(default_factory=set)

    def along(self, value: Value, atom: Atom, user: Node | None) -> None:
        """Multiply the units of `atom` in a value that only `user` (or the caller's own sites) reads.

        Raises:
            NotPossible: some other reader would feel it, or an operation on the way doesn't let a factor pass.
        """
        self._trace_or_region(value, atom, user, 1)

    def whole(self, value: Value, user: Node, power: float = 1) -> None:
        """Multiply the whole of a value that only `user` reads."""
        self._trace_or_region(value, None, user, power)

    def put_whole(self, value: Value, power: float) -> None:
        """Multiply the whole of a stored tensor."""
        self._put(value, None, power)

    def unmet(self) -> list[Node]:
        """Readers of a scaled tensor that were taken for `alike` and ask for nothing after all."""
        state = self.inference.graph.state
        return [n for name in self.wholes for n in state[name].consumers if n in self.alike - self.readers]

    def _trace_or_region(self, value: Value, atom: Atom | None, user: Node | None, power: float) -> None:
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

    def _trace(self, value: Value, atom: Atom | None, user: Node | None, power: float) -> None:
        others = [node for node in value.consumers if node is not user] if user is not None else []
        if others and not (atom is None and value.is_state):
            raise NotPossible(f"{value.name} is read by other operations too")
        if value in self.inference.graph.outputs.values() or value in self.inference.graph.mutated:
            raise NotPossible(f"{value.name} is an output, or is written to in place")
        if value.is_state:
            self._put(value, atom, power)
            if user is not None:
                self.readers.add(user)
            for node in set(others) - self.alike:  # a tied tensor: its other readers must not feel the factor
                self._undo(value, node, power)
            return
        if value.producer is None:
            raise NotPossible(f"{value.name} is not a result of trained weights")
        gain = stored_gain(value)
        if gain is not None and gain[1] != 0.0 and len(gain[0].consumers) == 1:
            self.offsets[gain[0].name] = gain[1]
            self._put(gain[0], atom, power)
        else:
            self._through(value.producer, atom, power)

    def _put(self, value: Value, atom: Atom | None, power: float) -> None:
        if atom is None:
            if self.wholes.setdefault(value.name, power) != power:
                raise NotPossible(f"'{value.name}' would have to be multiplied and divided at once")
            return
        if holds_constants(value):
            raise NotPossible(f"the buffer '{value.name}' holds constants")
        axes = axes_with(self.inference, value, atom)
        if len(axes) != 1:
            raise NotPossible(f"'{value.name}' has the dimension on {len(axes)} axes")
        self.spots.add((value.name, axes[0]))

    def _undo(self, value: Value, node: Node, power: float) -> None:
        """Divide the other factor of a product that reads a scaled tensor."""
        others = [v for v in node.inputs if v is not value]
        if node.op not in ("aten.linear", "aten.matmul", "aten.mm") or len(others) != 1:
            raise NotPossible(f"'{value.name}' is read by {node.where} too")
        self._trace(others[0], None, node, -power)

    def _through(self, node: Node, atom: Atom | None, power: float) -> None:
        flow = flow_of(node)
        inputs = [v for v in (passed_by(node) if flow is Flow.PASS else node.inputs) if v.dtype.is_floating_point]
        if atom is not None:
            inputs = [v for v in inputs if carries(self.inference, v, atom)]
        if makes_zeros(node):
            return
        if flow is Flow.PASS and len(node.outputs) == 1:
            if len(inputs) < len(merged(node)):
                raise NotPossible(f"{node.where} puts something in every unit")
            if not inputs:
                raise NotPossible(f"{node.where} repeats the same value for every unit")
            for value in inputs:
                self._trace_or_region(value, atom, node, power)
        elif is_homogeneous(node) and len(node.outputs) == 1:
            self._trace_or_region(node.inputs[0], atom, node, power)
        elif flow is Flow.SUM:
            if len(inputs) < 2:
                raise NotPossible(f"{node.where} adds something that doesn't have the dimension")
            for value in inputs:
                self._trace(value, atom, node, power)
        elif flow is Flow.PRODUCT:
            self._first_possible(multiplied(node, inputs), atom, node, power)
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

    def _through_product(self, node: Node, atom: Atom | None, power: float) -> None:
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

    def _first_possible(self, values: list[Value], atom: Atom | None, node: Node, power: float) -> None:
        reasons = []
        for value in values:
            before = set(self.spots), dict(self.wholes), set(self.readers)
            try:
                self._trace_or_region(value, atom, node, power)
                return
            except NotPossible as reason:
                self.spots, self.wholes, self.readers = before
                reasons.append(str(reason))
        raise NotPossible("; ".join(reasons) or f"{node.where} has no factor with the dimension")
