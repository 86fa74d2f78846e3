"""Writing into a tensor by number: the axis that is written along can't grow, features pass through all that meets."""

from __future__ import annotations

from typing import Any

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import lock, unify
from net2net.axes.rules.indexing import picked
from net2net.capture import Node, Value

_WHY = "entries are written by number"


def _flow(node: Node) -> Flow:
    """Sums, means and copies keep a factor; maxima and products keep only a 0. A number written in is a unit's own."""
    if node.get("value", 0) != 0:
        return Flow.OPAQUE
    return Flow.PASS if node.get("reduce", "sum") in ("sum", "add", "mean", None) else Flow.ZERO


@rule("aten.index_add", "aten.index_copy", "aten.index_reduce", "aten.index_fill", "aten.scatter", "aten.scatter_add",
      "aten.scatter_reduce", flow=_flow)  # fmt: skip
def along_one(inference: Inference, node: Node) -> list[Axes]:
    """Along one axis places are written; along the others canvas, source and numbers go together."""
    canvas, numbers = node["self"], node["index"]
    rank = len(canvas.shape)
    dim = node["dim"] % max(rank, 1)
    written = node.get("source", node.get("src"))
    partners = [v for v in (written, numbers) if isinstance(v, Value) and len(v.shape) == rank > 1]
    if isinstance(numbers, Value) and numbers not in partners:
        inference.lock_axes(numbers, node, _WHY)
    for value in (canvas, *partners):
        if rank:
            inference.lock_axes(value, node, _WHY, [dim])
    for value in partners:
        for d in range(rank):
            if d != dim and value.shape[d] == canvas.shape[d]:
                unify(inference.of(canvas)[d], inference.of(value)[d], node.where)
            elif d != dim:
                lock(inference.of(value)[d], f"{_WHY} ({node.where})")
                lock(inference.of(canvas)[d], f"{_WHY} ({node.where})")
    return [inference.of(canvas)]


@rule("aten.index_put", flow=Flow.PASS)
def index_put(inference: Inference, node: Node) -> list[Axes]:
    """`self[indices] = values`"""
    values = node["values"]
    axes = picked(inference, node, values.shape or (1,))
    inference.broadcast(node, [axes, inference.of(values)])
    return [inference.of(node["self"])]


@rule("aten.slice_scatter", "aten.select_scatter", flow=Flow.PASS)
def stretch(inference: Inference, node: Node) -> list[Axes]:
    """A stretch or one place of an axis is replaced."""
    canvas, source = inference.of(node["self"]), inference.of(node["src"])
    dim = node["dim"] % len(canvas)
    inference.lock_axes(node["self"], node, _WHY, [dim])
    if len(source) == len(canvas):
        inference.lock_axes(node["src"], node, _WHY, [dim])
    rest: list[Any] = [axes[:dim] + axes[dim + (len(axes) == len(canvas)) :] for axes in (canvas, source)]
    inference.broadcast(node, rest)
    return [canvas]
