"""What in a block must be zero for it to hand on its stream unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field

from net2net.axes import Flow, Inference, base_name, flow_of, stored_gain
from net2net.capture import CASTS, COPIES, DROPOUTS, MOVES, Node, Value
from net2net.depth._activations import is_idempotent, operation
from net2net.depth._block import Block
from net2net.sites import NotPossible, factors_of, is_parameter, passed_by, shifts_of

_UNCHANGED = (*COPIES, *CASTS, *DROPOUTS, "aten.native_dropout")
_NORMS = ("aten.layer_norm", "aten.rms_norm")


@dataclass
class IdentityRule:
    """The tensors of a block and the number that fills them so that the block is the identity: 0, or -1 for a gain
    that is stored less 1. `norms` are normalisations of the stream itself (post-norm), in order."""

    fills: dict[str, float] = field(default_factory=dict)
    norms: list[Node] = field(default_factory=list)


def identity_rule(inference: Inference, block: Block, stream: Value | None = None) -> IdentityRule:
    """Find how a block becomes the identity while every new weight can still learn: of each product on the way of a
    branch into the stream exactly one factor is zero, the last.

    Args:
        inference: of the network.
        block: the block that is copied.
        stream: what the copy gets; by default what the block itself gets.

    Raises:
        NotPossible: it can't; the message names the operation.
    """
    search = _Search(inference, block, block.stream_in if stream is None else stream)
    search.keep(block.stream_out)
    search.rule.norms.reverse()
    return search.rule


class _Search:
    def __init__(self, inference: Inference, block: Block, stream: Value) -> None:
        self.inference, self.block, self.stream = inference, block, stream
        self.rule = IdentityRule()
        self.done: set[Value] = set()

    def keep(self, value: Value) -> None:
        """Make the value equal to the stream that comes in."""
        if value is self.block.stream_in:
            return
        node = value.producer
        if node is None:
            raise NotPossible(f"'{self.block.path}' doesn't add to its stream: no path leads around its layers")
        op, flow = base_name(node.op), flow_of(node)
        if op in ("aten.add", "aten.sub") and len(node.inputs) == 2:
            self._keep_sum(node)
        elif op in _UNCHANGED or op in MOVES:
            self.keep(node.inputs[0])
        elif op in _NORMS:
            self.rule.norms.append(node)
            self.keep(node["input"])
        elif node.pointwise and len(node.inputs) == 1 and is_idempotent(operation(node)):
            self.keep(node.inputs[0])
            if not _is_image_of(self.stream, node):
                raise NotPossible(f"{node.where} acts on the stream, which doesn't come out of the same operation")
        elif flow is Flow.CONTRACT or flow is Flow.AFFINE:
            raise NotPossible(f"{node.where} is on every way through '{self.block.path}', which adds to no stream")
        elif op in ("aten.cat", "aten.concat", "aten.stack"):
            raise NotPossible(f"{node.where} concatenates: the block hands on more than it took")
        else:
            raise NotPossible(f"{node.where} changes the stream of '{self.block.path}'")

    def _keep_sum(self, node: Node) -> None:
        """One operand hands the stream on, the other must be zero."""
        if node.get("alpha", 1) != 1:
            raise NotPossible(f"{node.where} scales what it adds")
        a, b = node.inputs
        reasons = []
        for kept, silenced in ((a, b), (b, a)) if base_name(node.op) == "aten.add" else ((a, b),):
            saved = dict(self.rule.fills), list(self.rule.norms), set(self.done)
            try:
                self.keep(kept)
                self.silence(silenced)
                return
            except NotPossible as reason:
                self.rule.fills, self.rule.norms, self.done = saved
                reasons.append(str(reason))
        raise NotPossible(min(reasons, key=lambda r: "adds to no stream" in r or "no path" in r))

    def silence(self, value: Value) -> None:
        """Make the value zero."""
        if value in self.done:
            return
        if value is self.block.stream_in:
            raise NotPossible("the stream itself would have to be zero")
        gain = stored_gain(value)
        if gain is not None:
            self._fill(gain[0], 0.0 - gain[1])
        elif value.producer is None or value.is_state:
            self._fill(value, 0.0)
        else:
            self._through(value.producer)
        self.done.add(value)

    def _fill(self, value: Value, number: float) -> None:
        ties = self.inference.graph.ties
        if value.kind != "parameter" or not value.name.startswith(self.block.path + "."):
            raise NotPossible(f"'{value.name}' is not a weight of '{self.block.path}' alone")
        if value.name in ties.values():
            raise NotPossible(f"'{value.name}' is tied to another tensor")
        self.rule.fills[value.name.removeprefix(self.block.path + ".")] = number

    def _through(self, node: Node) -> None:
        flow, op = flow_of(node), base_name(node.op)
        if flow is Flow.CONTRACT:
            factors = sorted(factors_of(node), key=lambda v: not is_parameter(v))
            self._any(factors, node)
            for shift in shifts_of(node):
                self.silence(shift)
        elif flow is Flow.AFFINE:
            gain, shift = node.get("weight"), node.get("bias")
            if gain is not None:
                self.silence(gain)
            elif "input" in node.arguments and op in (*_NORMS, "aten.group_norm", "aten.instance_norm"):
                self.silence(node["input"])
            else:
                raise NotPossible(f"{node.where} has no gain that could be zero")
            if shift is not None:
                self.silence(shift)
        elif flow is Flow.PRODUCT:
            tensors = node.inputs[:1] if "div" in op else sorted(node.inputs, key=lambda v: stored_gain(v) is None)
            self._any(tensors, node)
        elif flow is Flow.PASS or op in MOVES:
            for value in passed_by(node):
                self.silence(value)
        elif flow is Flow.ZERO:
            self.silence(node.inputs[0])
        elif flow is Flow.SUM and len(node.inputs) > 1:
            for value in node.inputs:
                self.silence(value)
        elif op in ("aten.zeros", "aten.zeros_like", "aten.new_zeros"):
            return
        elif op in ("aten.index_add", "aten.scatter_add"):
            for name in ("self", "source", "src"):
                if isinstance(node.get(name), Value):
                    self.silence(node[name])
        else:
            raise NotPossible(f"{node.where} can't be made zero by a weight")

    def _any(self, values: list[Value], node: Node) -> None:
        reasons = []
        for value in values:
            saved = dict(self.rule.fills), set(self.done)
            try:
                self.silence(value)
                return
            except NotPossible as reason:
                self.rule.fills, self.done = saved
                reasons.append(str(reason))
        raise NotPossible("; ".join(dict.fromkeys(reasons)) or f"{node.where} has no factor that could be zero")


def _is_image_of(value: Value, activation: Node) -> bool:
    """Whether a value comes out of the same activation, seen through operations that keep its range."""
    while value.producer is not None:
        node = value.producer
        if base_name(node.op) == base_name(activation.op):
            return True
        keeps = base_name(node.op) in (*_UNCHANGED, *MOVES) or "max_pool" in node.op
        if not keeps:
            return False
        value = node.inputs[0]
    return False
