"""Do two recordings of one model compute the same?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from net2net.capture._families import DROPOUTS
from net2net.capture._graph import Graph, Node, Value
from net2net.capture._unknown import UnknownSize


def alike(first: Graph, second: Graph) -> bool:
    """Whether two recordings run the same operations on the same tensors, in the same order, and give back the same.

    A parameter, a buffer or an input is the same by its name, a constant by its name and its entries. What can't be
    told (a tensor of unknown origin, a size or a number that was read out of a tensor) is never the same. Dropout that
    is off counts for nothing: one mode calls it, the other doesn't.
    """
    match = _Match()
    ours, theirs = match.without_dropout(first), match.without_dropout(second)
    if len(ours) != len(theirs) or list(first.outputs) != list(second.outputs):
        return False
    return all(map(match.nodes, ours, theirs)) and match.all(first.outputs.values(), second.outputs.values())


class _Match:
    """Which value of the second recording each value of the first is, as far as their nodes have been looked at."""

    def __init__(self) -> None:
        self.made: dict[Value, Value] = {}
        self.handed_on: dict[Value, Value] = {}

    def without_dropout(self, graph: Graph) -> list[Node]:
        kept = []
        for node in graph.nodes:
            if node.op in DROPOUTS and node.get("train") is False:
                self.handed_on[node.output] = node.inputs[0]
            else:
                kept.append(node)
        return kept

    def nodes(self, a: Node, b: Node) -> bool:
        if a.target is not b.target or a.arguments.keys() != b.arguments.keys() or len(a.outputs) != len(b.outputs):
            return False
        if not self.all(a.arguments.values(), b.arguments.values()):
            return False
        self.made.update(zip(a.outputs, b.outputs, strict=True))
        return all(_look_alike(x, y) for x, y in zip(a.outputs, b.outputs, strict=True))

    def all(self, ours: Iterable[Any], theirs: Iterable[Any]) -> bool:
        ours, theirs = list(ours), list(theirs)
        return len(ours) == len(theirs) and all(map(self.same, ours, theirs))

    def same(self, a: Any, b: Any) -> bool:
        if type(a) is not type(b) or isinstance(a, (UnknownSize, torch.SymInt, torch.SymFloat, torch.SymBool)):
            return False
        if isinstance(a, Value):
            a, b = self._origin(a), self._origin(b)
            return self.made[a] is b if a in self.made else _same_leaf(a, b)
        if isinstance(a, (list, tuple)):
            return self.all(a, b)
        return bool(a == b)

    def _origin(self, value: Value) -> Value:
        while value in self.handed_on:
            value = self.handed_on[value]
        return value


def _look_alike(a: Value, b: Value) -> bool:
    known = not any(isinstance(size, UnknownSize) for size in a.shape)
    return known and (a.shape, a.dtype) == (b.shape, b.dtype)


def _same_leaf(a: Value, b: Value) -> bool:
    """Whether two tensors that no operation has made are the same."""
    if (a.kind, a.name) != (b.kind, b.name) or not _look_alike(a, b):
        return False
    if a.kind != "constant":
        return a.kind != "computed"
    return a.data is not None and b.data is not None and _same_entries(a.data, b.data)


def _same_entries(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.device == b.device and a.device.type != "meta" and a.layout == b.layout and torch.equal(a, b)
