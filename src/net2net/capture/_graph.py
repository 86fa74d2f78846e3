"""The graph of a captured network: values, the nodes that compute them, and where each came from."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from net2net.capture._compiled import shown
from net2net.capture._families import CASTS, COPIES

Kind = Literal["parameter", "buffer", "constant", "input", "computed"]


@dataclass(eq=False, slots=True)
class Value:
    """A tensor in the graph, or a number that is read out of one. `name` is the state-dict key of a parameter or
    buffer, else the graph's own name.

    `number` is the value of a constant with one entry, `data` the entries of a constant or of an example input.
    `saved` says whether a buffer is part of the state dict; `zeros` that a buffer, or a tensor attribute of a module,
    is 0 throughout: a state at its start.
    A size that depends on values is an `UnknownSize`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    kind: Kind
    number: float | None = None
    data: torch.Tensor | None = None
    saved: bool = True
    zeros: bool = False
    producer: Node | None = None
    consumers: list[Node] = field(default_factory=list)

    @property
    def is_state(self) -> bool:
        """Whether the value is stored in the model rather than computed."""
        return self.kind in ("parameter", "buffer")

    def __repr__(self) -> str:
        return f"{self.name}{list(self.shape)}"


@dataclass(eq=False, slots=True)
class Node:
    """One ATen operation: its arguments by the names of the operation's schema, defaults filled in.

    `target` is the operation itself, where it is one of torch's own.
    """

    op: str
    arguments: dict[str, Any]
    outputs: tuple[Value, ...]
    module: str
    pointwise: bool = False
    target: Any = None

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self.arguments.get(name, default)

    @property
    def output(self) -> Value:
        return self.outputs[0]

    @property
    def inputs(self) -> list[Value]:
        """Every tensor argument, lists flattened, in order."""
        return list(_values(self.arguments.values()))

    @property
    def where(self) -> str:
        """The operation and the module that runs it, for messages."""
        path = shown(self.module)
        return f"{self.op} in '{path}'" if path else f"{self.op} in the model's own forward"

    def __repr__(self) -> str:
        return f"{', '.join(map(repr, self.outputs))} = {self.op}({', '.join(map(repr, self.inputs))})"


@dataclass(eq=False, slots=True)
class Graph:
    """What a network computes.

    `ties` maps each further name of a shared tensor to its first name; `mutated` are the values that an in-place
    operation may write to through a view. `first` is the graph of the first example, where there are several.
    """

    nodes: list[Node]
    state: dict[str, Value]
    inputs: list[Value]
    outputs: dict[str, Value]
    ties: dict[str, str]
    casts_to_float32: bool
    mutated: set[Value]
    first: Graph | None = None


def _values(arguments: Any) -> Iterator[Value]:
    for argument in arguments:
        if isinstance(argument, Value):
            yield argument
        elif isinstance(argument, (list, tuple)):
            yield from _values(argument)


_MAKERS = ("aten.full", "aten.new_full", "aten.full_like", "aten.scalar_tensor")  # of constants


_SHAPES_IN_PLACE = {
    getattr(torch.ops.aten, f"{name}_"): getattr(torch.ops.aten, name)
    for name in ("detach", "squeeze", "unsqueeze", "transpose", "t", "swapaxes", "swapdims")
}  # they change what a name stands for, and no entry


def _functional(target: torch._ops.OpOverload) -> torch._ops.OpOverload:
    """The same operation without the underscore, where it writes to no entry."""
    if target.overloadpacket not in _SHAPES_IN_PLACE:
        return target
    packet = _SHAPES_IN_PLACE[target.overloadpacket]
    found: torch._ops.OpOverload = getattr(packet, target._overloadname, None) or getattr(packet, packet.overloads()[0])
    return found


def connected(
    target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any], outputs: tuple[Value, ...], module: str
) -> Node:
    """The node of a call of `target`, entered at the values that it reads and makes."""
    if isinstance(target, torch._ops.OpOverload):
        target = _functional(target)
        name, pointwise = target._schema.name.replace("::", "."), torch.Tag.pointwise in target.tags
        bound = {a.name: a.default_value for a in target._schema.arguments if a.has_default_value()}
        bound |= {a.name: v for a, v in zip(target._schema.arguments, arguments, strict=False)} | keywords
    else:
        name, pointwise = str(getattr(target, "__name__", target)), False
        bound = {str(i): a for i, a in enumerate(arguments)} | keywords
    node = Node(name, bound, outputs, module, pointwise, target)
    for value in outputs:
        value.producer = node
    for value in node.inputs:
        value.consumers.append(node)
    if name in (*COPIES, *CASTS) and node.inputs:
        node.output.number = node.inputs[0].number
    made = bound.get("fill_value", bound.get("s"))
    if name in _MAKERS and isinstance(made, (int, float)) and math.prod(outputs[0].shape) == 1:
        node.output.number = float(made)
    return node


def without_unread(nodes: list[Node], outputs: set[Value]) -> list[Node]:
    """The nodes but for those whose results nothing reads: some models take a slice only to ask for its shape.

    What runs on a parameter that nothing else reads stays, and all that it needs to run: its axes grow with those
    that it meets, as in the last block of a stack whose stream nobody reads after it.
    """
    parameters = {value for node in nodes for value in node.inputs if value.kind == "parameter"}
    kept, unread = [], []
    for node in reversed(nodes):
        if node.op.endswith("_") or any(value.consumers or value in outputs for value in node.outputs):
            kept.append(node)
            continue
        unread.append(node)
        for value in node.inputs:
            value.consumers = [n for n in value.consumers if n is not node]
    needed = {value for value in parameters if not value.consumers}
    running = {node for node in reversed(unread) if _runs_on(node, needed)}
    for node in unread:  # the last one first
        if node in running:
            running.update(value.producer for value in node.inputs if value.producer is not None)
    kept += [node for node in unread if node in running]
    for node in (node for node in unread if node in running):
        for value in node.inputs:
            value.consumers.append(node)
    order = {node: k for k, node in enumerate(nodes)}
    return sorted(kept, key=order.__getitem__)


def _runs_on(node: Node, values: set[Value]) -> bool:
    """Whether a node reads one of some values; what it makes is one of them from then on."""
    if found := any(value in values for value in node.inputs):
        values.update(node.outputs)
    return found
