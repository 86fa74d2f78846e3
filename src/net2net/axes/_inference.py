"""Walks a graph and relates the axes of its values, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import torch

from net2net.axes._opened import CLOSED, Opened
from net2net.axes._terms import UNIT, Atom, Lock, LockKind, Term, atoms, head, lock, size, unify
from net2net.capture import STRETCHES, Graph, Node, UnknownSize, Value

Axes = tuple[Term, ...]
Rule = Callable[["Inference", Node], Sequence[Sequence[Term]]]


class Flow(Enum):
    """How an operation treats one unit of an axis that passes through it: what lets a plan follow a value back
    to the weights that make it."""

    PASS = "each output unit is a sum or a selection of the input's entries of that unit"
    SUM = "each output unit is the sum of that unit of every input"
    PRODUCT = "each output unit is the product of that unit of every input"
    ZERO = "a unit that is 0 stays 0"
    AFFINE = "each output unit is normalised by itself or over its axis, then scaled and shifted by parameters"
    CONTRACT = "a product of two tensors, summed over an axis"
    NEW = "made on the spot, with nothing of its operands but a shape, a dtype or a device"
    OPAQUE = "nothing is known"


@dataclass(frozen=True, slots=True)
class Contraction:
    """`node` sums over `term` the product of two operands, each (value, axis).

    Where the second operand is hidden inside the operation (the state of a recurrent layer) it is None.
    """

    node: Node
    term: Term
    weight: tuple[Value, int]
    other: tuple[Value, int] | None


@dataclass(frozen=True, slots=True)
class Reduction:
    """`node` reduces `value` over `term`: "mean", "sum", "max", or "moments" (mean and variance)."""

    node: Node
    term: Term
    value: Value
    kind: str


@dataclass(frozen=True, slots=True)
class Normalisation:
    """`node` normalises `value` over `term`: "rms" or "layer" (the mean is subtracted) or "group".

    `gain` multiplies the result; the factor is `gain + gain_offset` (Gemma stores the gain less 1).
    """

    node: Node
    term: Term
    value: Value
    kind: str
    gain: Value | None
    shift: Value | None
    eps: float | None
    gain_offset: float = 0.0


_RULES: dict[str, tuple[Rule, Flow | Callable[[Node], Flow]]] = {}


def rule(*ops: str, flow: Flow | Callable[[Node], Flow] = Flow.OPAQUE) -> Callable[[Rule], Rule]:
    """Register the rule of the operations named, e.g. `@rule("aten.linear", flow=Flow.CONTRACT)`.

    A rule gets the inference and the node, relates the axes of the inputs, and returns the axes of each output. Where
    an operation's arguments decide how units pass through it (`x ** 2`, `x ** -1`), `flow` is a function of the node.
    """

    def register(function: Rule) -> Rule:
        for op in ops:
            _RULES[op] = (function, flow)
        return function

    return register


def base_name(op: str) -> str:
    """The operation's name without the underscore of its in-place variant."""
    return op[:-1] if op.endswith("_") and not op.endswith("__") else op


def flow_of(node: Node) -> Flow:
    """How the node's operation treats the units that pass through it."""
    found = _found(node)
    if found is None:
        return Flow.OPAQUE
    return found[1] if isinstance(found[1], Flow) else found[1](node)


def has_rule(op: str) -> bool:
    """Whether an operation that isn't pointwise has a rule."""
    return op in _RULES or base_name(op) in _RULES


def _found(node: Node) -> tuple[Rule, Flow | Callable[[Node], Flow]] | None:
    found = _RULES.get(node.op) or _RULES.get(base_name(node.op))
    return _RULES["pointwise"] if found is None and node.pointwise else found


@dataclass
class Inference:
    """The axes of every value of a graph, and the places where units of an axis are mixed.

    `weights` are the parameters, and what is computed from stored tensors alone; `opened` is what the interface of the
    network doesn't lock.
    """

    graph: Graph
    weights: frozenset[Value] = frozenset()
    opened: Opened = CLOSED
    axes: dict[Value, Axes] = field(default_factory=dict)
    contractions: list[Contraction] = field(default_factory=list)
    reductions: list[Reduction] = field(default_factory=list)
    normalisations: list[Normalisation] = field(default_factory=list)
    _by_node: dict[Node, list[Contraction]] | None = field(default=None, repr=False)
    _counted: int = field(default=0, repr=False)

    def of(self, value: Value) -> Axes:
        """The axes of a value; a constant that no operation made has locked axes, but for zeros."""
        if value not in self.axes:
            reason = None if value.zeros else Lock(LockKind.CONSTANT, f"it reaches the constant '{value.name}'")
            self.axes[value] = tuple(self.fresh(s, reason) for s in value.shape)
        return self.axes[value]

    def fresh(self, length: int, reason: Lock | None = None) -> Term:
        """A new axis, locked if a reason is given or its length depends on values."""
        if isinstance(length, UnknownSize):
            reason = reason or Lock(LockKind.OPERATION, "its length depends on values")
        return Atom(length, reason) if length != 1 else UNIT

    def given(self, length: int, reason: Lock | None, followed: bool = True) -> Term:
        """An axis that the network is given: one of a single place is an atom too, where such axes are followed."""
        single = length == 1 and followed and self.opened.single
        return Atom(1, reason) if single else self.fresh(length, reason)

    def fixed(self, node: Node, shape: Sequence[int], reason: str, kind: LockKind = LockKind.OPERATION) -> Axes:
        """New locked axes for a shape."""
        return tuple(self.fresh(s, Lock(kind, f"{reason} ({node.where})")) for s in shape)

    def is_read(self, value: Value) -> bool:
        """Whether anything reads a value, or it is a result of the network."""
        return bool(value.consumers) or value in self.graph.outputs.values()

    def gives_its_shape(self, node: Node) -> bool:
        """Whether nothing is asked of the results of a node but their shapes, as in `torch.ones_like(x[:, :1])`."""
        readers = [reader for value in node.outputs for reader in value.consumers]
        given_back = set(self.graph.outputs.values()).intersection(node.outputs)
        return bool(readers) and not given_back and all(flow_of(reader) is Flow.NEW for reader in readers)

    def counts(self) -> tuple[int, int, int]:
        """How many contractions, reductions and normalisations are known."""
        return len(self.contractions), len(self.reductions), len(self.normalisations)

    def lock_axes(
        self,
        value: Value,
        node: Node,
        reason: str,
        dims: Sequence[int] | None = None,
        kind: LockKind = LockKind.OPERATION,
    ) -> None:
        """Lock some axes of a value (all of them by default)."""
        for dim in range(len(value.shape)) if dims is None else dims:
            lock(self.of(value)[dim], f"{reason} ({node.where})", kind)

    def broadcast(self, node: Node, operands: Sequence[Axes]) -> Axes:
        """The axes of operands combined unit by unit: aligned at the end, axes of size 1 stretched."""
        result: list[Term] = [UNIT] * max(map(len, operands), default=0)
        for axes in operands:
            offset = len(result) - len(axes)
            for dim, term in enumerate(axes, start=offset):
                if head(term) == UNIT:
                    continue
                if head(result[dim]) == UNIT:
                    result[dim] = term
                elif size(result[dim]) == size(term):
                    unify(result[dim], term, node.where)
                else:  # a single place that somebody means to change
                    short, result[dim] = sorted((result[dim], term), key=size)
                    lock(short, f"it is stretched to {size(result[dim])} places ({node.where})")
        return tuple(result)

    def contract(self, node: Node, left: tuple[Value, int], right: tuple[Value, int]) -> None:
        """Record that the node sums over an axis that both operands have. The stored one is the weight, wherever it
        stands; of two of a kind it is the right one. Axes may be counted from the end."""
        left, right = ((value, dim % len(value.shape)) for value, dim in (left, right))
        if left[0] in self.weights and right[0] not in self.weights:
            left, right = right, left
        self.sums(node, self.of(left[0])[left[1]], right, left)

    def sums(self, node: Node, term: Term, weight: tuple[Value, int], other: tuple[Value, int] | None = None) -> None:
        """Record that the node sums over `term`, which is the whole of an axis of `weight`."""
        unify(term, self.of(weight[0])[weight[1]], node.where)
        self.contractions.append(Contraction(node, term, weight, other))

    def normalise(self, node: Node, value: Value, dim: int, kind: str) -> None:
        """Record that the node normalises a value over one of its axes, with the node's own gain and shift."""
        self.normalisations.append(
            Normalisation(node, self.of(value)[dim], value, kind, node.get("weight"), node.get("bias"), node.get("eps"))
        )

    def contractions_at(self, node: Node) -> list[Contraction]:
        """The contractions of one node."""
        if self._by_node is None or self._counted != len(self.contractions):
            self._by_node, self._counted = {}, len(self.contractions)
            for contraction in self.contractions:
                self._by_node.setdefault(contraction.node, []).append(contraction)
        return self._by_node.get(node, [])

    def reduce(self, node: Node, value: Value, dims: Sequence[int], kind: str) -> None:
        """Record that the node reduces a value over some of its axes."""
        for dim in dims:
            if value.shape[dim] != 1:
                self.reduce_term(node, value, self.of(value)[dim], kind)

    def reduce_term(self, node: Node, value: Value, term: Term, kind: str) -> None:
        """Record that the node reduces a value over an axis, or over a factor of one."""
        self.reductions.append(Reduction(node, term, value, kind))


def weights_of(graph: Graph) -> frozenset[Value]:
    """The parameters of a graph, and every value that is computed from them and from no input."""
    weights = {value for value in graph.state.values() if value.kind == "parameter"}
    moving = set(graph.inputs)
    for node in graph.nodes:
        if any(value in moving for value in node.inputs):
            moving.update(node.outputs)
        elif any(value in weights for value in node.inputs):
            weights.update(node.outputs)
    return frozenset(weights)


def infer(graph: Graph, opened: Opened = CLOSED) -> Inference:
    """Relate the axes of every value of the graph. Operations with no rule lock the axes that they touch, and so do
    inputs and outputs, but for those that are opened."""
    inference = Inference(graph, weights_of(graph), opened)
    for name, value in graph.state.items():
        constant = value.kind == "buffer" and not value.saved and not value.zeros and not _is_statistic(value)
        reason = Lock(LockKind.CONSTANT, f"the buffer '{name}' holds constants") if constant else None
        inference.axes[value] = tuple(inference.given(s, reason) for s in value.shape)
    for value in graph.inputs:
        reason = Lock(LockKind.INPUT, _input_reason(value))
        free = [(value.name, dim) in opened.inputs for dim in range(len(value.shape))]
        inference.axes[value] = tuple(
            inference.given(s, None if is_free else reason, followed=is_free)
            for s, is_free in zip(value.shape, free, strict=True)
        )
    for node in graph.nodes:
        _apply_rule(inference, node)
    for name, value in graph.outputs.items():
        for dim, term in enumerate(inference.of(value)):
            if (name, dim) not in opened.outputs:
                lock(term, f"it reaches axis {dim} of the output '{name}'", LockKind.OUTPUT)
    return inference


def _apply_rule(inference: Inference, node: Node) -> None:
    found = _found(node)
    mixed = inference.counts()
    results: Any = found[0](inference, node) if found is not None else _without_rule(inference, node)
    for value, axes in zip(node.outputs, results, strict=True):
        axes = tuple(axes)
        if tuple(map(size, axes)) != value.shape:
            axes = _without_rule(inference, node)[node.outputs.index(value)]
        inference.axes[value] = axes
    if flow_of(node) is not Flow.NEW and node.op not in STRETCHES and not inference.gives_its_shape(node):
        _lock_consumed(inference, node, mixed)


_LOOKUPS = ("aten.embedding", "aten.embedding_bag")
_OF_A_FORMAT = ("aten.to", "aten.type_as")  # the other tensor lends its number format and nothing else


def _lock_consumed(inference: Inference, node: Node, mixed: tuple[int, int, int]) -> None:
    """Lock the axes of a node's inputs that none of its results has, and that it is not known to sum or reduce.

    Whatever an operation does with the places of such an axis, it needs their number or their order.
    """
    contractions, reductions, normalisations = mixed
    terms = [site.term for site in inference.contractions[contractions:]]
    terms += [site.term for site in inference.reductions[reductions:]]
    terms += [site.term for site in inference.normalisations[normalisations:]]
    terms += [term for value in node.outputs for term in inference.of(value)]
    passed = {atom for term in terms for atom in atoms(term)}
    read = (v for v in node.inputs if node.op not in _OF_A_FORMAT or v is node["self"])
    for value in dict.fromkeys(read):
        is_table = value.name in inference.opened.tables and node.op in _LOOKUPS
        for dim, term in enumerate(inference.of(value)):
            if not (is_table and dim == 0) and not any(atom in passed for atom in atoms(term)):
                lock(term, f"its places are used up ({node.where})")


_NO_RULE = "an operation with no rule"


def _without_rule(inference: Inference, node: Node) -> list[Axes]:
    for value in node.inputs:
        inference.lock_axes(value, node, _NO_RULE, kind=LockKind.NO_RULE)
    return [inference.fixed(node, value.shape, _NO_RULE, LockKind.NO_RULE) for value in node.outputs]


def _input_reason(value: Value) -> str:
    """Why the axes of an input are fixed; a state of zeros needn't be given."""
    reason = f"it reaches the input '{value.name}'"
    data = value.data
    if data is None or not data.is_floating_point() or data.layout is not torch.strided or data.device.type == "meta":
        return reason
    if data.any():
        return reason
    return f"{reason}, which is 0 throughout: if it is a state at its start, leave the state out of the example inputs"


def holds_constants(value: Value) -> bool:
    """Whether a tensor is a saved buffer with numbers of its own, which copies of units copy and new units lack."""
    return value.kind == "buffer" and value.saved and not value.zeros and not _is_statistic(value)


def _is_statistic(value: Value) -> bool:
    """Whether every use of a buffer is as the running statistics of a normalisation, which grow with it."""
    return bool(value.consumers) and all(
        node.op in ("aten.batch_norm", "aten.instance_norm")
        and value in (node.get("running_mean"), node.get("running_var"))
        for node in value.consumers
    )
