"""Fused projections: which rows of a weight a part of its result comes from (the queries in a fused QKV)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from net2net.axes import Flow, Inference, flow_of
from net2net.capture import CASTS, COPIES, DROPOUTS, MOVES, STRETCHES, Node, Value

Mask = npt.NDArray[np.bool_]

# For each product: the argument that holds its weight, and the axis of the weight that becomes the result's.
_WEIGHTS = {
    "aten.linear": ("weight", 0),
    "aten.addmm": ("mat2", 1),
    "aten.conv1d": ("weight", 0),
    "aten.conv2d": ("weight", 0),
}


# They hand rows on.
_UNCHANGED = (*COPIES, *CASTS, *DROPOUTS, "aten.neg")
# They also run on numbers of rows. Means, pools and padding are no moves: they make new entries.
_REARRANGED = (
    *MOVES, *STRETCHES, "aten.expand", "aten.repeat_interleave", "aten.split", "aten.split_with_sizes", "aten.chunk",
    "aten.unbind", "aten.select",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Region:
    """`rows` of the tensors at `places` (tensor, axis) make a value, and nothing else does or is made by them."""

    places: tuple[tuple[str, int], ...]
    rows: Mask


def region_of(inference: Inference, value: Value, *, zeros: bool = False) -> Region | None:
    """The rows of a fused weight that a value is made of; None if it is no separate part of one projection.

    Found by sending the numbers of the rows through the views, splits and selections between the two. With `zeros`
    also through what keeps a 0, entry by entry: where these rows are 0 the value is, though it is no multiple of them.
    """
    path: list[Value] = [value]
    while path[-1].producer is not None and _passes(path[-1].producer, zeros):
        path.append(path[-1].producer.inputs[0])
    whole = path[-1]
    node = whole.producer
    if node is None or node.op not in _WEIGHTS or len(path) == 1:
        return None
    argument, axis = _WEIGHTS[node.op]
    stored = [_stored(inference, node[argument], axis)]
    bias = node.get("self") if node.op == "aten.addmm" else node.get("bias")
    if bias is not None:
        stored.append(_stored(inference, bias, 0))
    places = [place for place in stored if place is not None]
    if len(places) < len(stored):
        return None
    count = node[argument].shape[axis]
    rows = _rows(whole, count, 1 if node.op.startswith("aten.conv") else len(whole.shape) - 1)
    mine: Mask | None = None
    others = np.zeros(count, dtype=bool)
    for leaf, numbers in _leaves(inference, whole, rows, value, zeros):
        mask = np.zeros(count, dtype=bool)
        mask[np.unique(numbers.numpy())] = True
        if leaf is value:
            mine = mask
        else:
            others |= mask
    if mine is None or (mine & others).any() or mine.all():
        return None
    return Region(tuple(places), mine)


def _moves(node: Node) -> bool:
    """Whether an operation only moves entries of one tensor."""
    return node.op in _REARRANGED + _UNCHANGED and len(node.inputs) == 1


def _stored(inference: Inference, value: Value, axis: int) -> tuple[str, int] | None:
    """The tensor and its axis that an axis of a value is, seen through views, if nothing else reads it."""
    term = inference.of(value)[axis]
    while len(value.consumers) == 1 and not value.is_state:
        node = value.producer
        if node is None or not _moves(node):
            return None
        value = node.inputs[0]
        found = [d for d, other in enumerate(inference.of(value)) if other is term]
        if len(found) != 1:
            return None
        axis = found[0]
    return (value.name, axis) if len(value.consumers) == 1 else None


def _passes(node: Node, zeros: bool) -> bool:
    return _moves(node) or (zeros and _keeps_zeros(node))


def _keeps_zeros(node: Node) -> bool:
    """Whether an operation works entry by entry and makes 0 of 0 (SiLU in front of a split)."""
    return (
        flow_of(node) is Flow.ZERO
        and len(node.inputs) == len(node.outputs) == 1
        and node.inputs[0].shape == node.output.shape
    )


def _rows(value: Value, count: int, axis: int) -> torch.Tensor:
    shape = [count if d == axis else 1 for d in range(len(value.shape))]
    return torch.arange(count).reshape(shape).expand(value.shape)


def _leaves(
    inference: Inference, value: Value, numbers: torch.Tensor, goal: Value, zeros: bool
) -> Iterator[tuple[Value, torch.Tensor]]:
    """The values that are read by something that computes, and the goal, with the rows that they come from."""
    if value is goal:
        yield value, numbers
        return
    if value in inference.graph.outputs.values() or any(not _passes(node, zeros) for node in value.consumers):
        yield value, numbers
    for node in value.consumers:
        if _passes(node, zeros):
            for output, moved in zip(node.outputs, _replay(node, numbers), strict=True):
                yield from _leaves(inference, output, moved, goal, zeros)


def _replay(node: Node, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if node.op in _UNCHANGED or not _moves(node):
        return (numbers.contiguous(),)
    arguments = {k: numbers if v is node.inputs[0] else v for k, v in node.arguments.items()}
    result = node.target(**arguments)
    return tuple(result) if isinstance(result, (list, tuple)) else (result,)
