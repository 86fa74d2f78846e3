"""Windows that slide along axes: what they do to positions, in convolutions and pooling alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from net2net.axes._inference import Axes, Inference
from net2net.axes._terms import UNIT, Term, lock
from net2net.capture import Node, Value

_WHY = "a window slides along it"


def each(sizes: int | Sequence[int] | None, count: int, default: Sequence[int]) -> list[int]:
    """One number for every axis: a number that is given once stands for all axes."""
    listed = [] if sizes is None else [sizes] if isinstance(sizes, int) else list(sizes)
    return listed * count if len(listed) == 1 else listed or list(default)


def slid(
    inference: Inference,
    node: Node,
    value: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    whole: Callable[[int], None] | None = None,
) -> Axes:
    """What comes out of the last axes of a value when windows slide along them.

    A window of one place that takes every place leaves the axis as it is; one window over the whole axis reduces it,
    where the operation says how (`whole`); any other fixes the axis on both sides.
    """
    count = len(kernel)
    result: list[Term] = []
    for i in range(count):
        dim, out = len(value.shape) - count + i, node.output.shape[i - count]
        if (kernel[i], stride[i], padding[i]) == (1, 1, 0) and out == value.shape[dim]:
            result.append(inference.of(value)[dim])
        elif whole is not None and out == 1 and kernel[i] == value.shape[dim] and padding[i] == 0:
            whole(dim)
            result.append(UNIT)
        else:
            result.extend(_new(inference, node, inference.of(value)[dim], out, _WHY))
    return tuple(result)


def consumed(inference: Inference, node: Node, value: Value, shape: Sequence[int], why: str = _WHY) -> Axes:
    """The new axes that come out where an operation mixes the places of the last axes of a value: none can grow."""
    for term in inference.of(value)[len(value.shape) - len(shape) :]:
        lock(term, f"{why} ({node.where})")
    return inference.fixed(node, shape, why)


def _new(inference: Inference, node: Node, term: Term, length: int, why: str) -> Axes:
    lock(term, f"{why} ({node.where})")
    return inference.fixed(node, [length], why)
