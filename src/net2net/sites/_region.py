"""Fused projections: which rows of a weight a part of its result comes from (the queries in a fused QKV)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from net2net.axes import Inference
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


def region_of(inference: Inference, value: Value) -> Region | None:
    """The rows of a fused weight that a value is made of; None if it is no separate part of one projection.

    Found by sending the numbers of the rows through the views, splits and selections between the two.
    """
    path: list[Value] = [value]
    while path[-1].producer is not None and _moves(path[-1].producer):
        path.append(path[-1].producer.inputs[0])
    whole = path[-1]
    node = whole.producer
    if node is None or node.op not in _WEIGHTS or len(path) == 1:
        return None
    argument, axis = _WEIGHTS[node.op]
    weight = node[argument]
    if not weight.is_state or len(weight.consumers) != 1:
        return None
    bias = node.get("self") if node.op == "aten.addmm" else node.get("bias")
    if bias is not None and (not bias.is_state or len(bias.consumers) != 1):
        return None
    rows = _rows(whole, weight.shape[axis], 1 if node.op.startswith("aten.conv") else len(whole.shape) - 1)
    mine: Mask | None = None
    others = np.zeros(weight.shape[axis], dtype=bool)
    for leaf, numbers in _leaves(inference, whole, rows, value):
        mask = np.zeros(weight.shape[axis], dtype=bool)
        mask[np.unique(numbers.numpy())] = True
        if leaf is value:
            mine = mask
        else:
            others |= mask
    if mine is None or (mine & others).any() or mine.all():
        return None
    places = [(weight.name, axis)] + ([(bias.name, 0)] if bias is not None else [])
    return Region(tuple(places), mine)


def _moves(node: Node) -> bool:
    """Whether an operation only moves entries of one tensor."""
    return node.op in _REARRANGED + _UNCHANGED and len(node.inputs) == 1


def _rows(value: Value, count: int, axis: int) -> torch.Tensor:
    shape = [count if d == axis else 1 for d in range(len(value.shape))]
    return torch.arange(count).reshape(shape).expand(value.shape)


def _leaves(
    inference: Inference, value: Value, numbers: torch.Tensor, goal: Value
) -> Iterator[tuple[Value, torch.Tensor]]:
    """The values that are read by something that computes, and the goal, with the rows that they come from."""
    if value is goal:
        yield value, numbers
        return
    if value in inference.graph.outputs.values() or any(not _moves(node) for node in value.consumers):
        yield value, numbers
    for node in value.consumers:
        if _moves(node):
            for output, moved in zip(node.outputs, _replay(node, numbers), strict=True):
                yield from _leaves(inference, output, moved, goal)


def _replay(node: Node, numbers: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if node.op in _UNCHANGED:
        return (numbers.contiguous(),)
    arguments = {k: numbers if v is node.inputs[0] else v for k, v in node.arguments.items()}
    result = node.target(**arguments)
    return tuple(result) if isinstance(result, (list, tuple)) else (result,)
