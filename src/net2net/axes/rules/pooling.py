"""Pooling: channels pass; a window over a whole axis reduces it, any other fixes it."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import lock, unify
from net2net.axes.rules._windows import consumed, each, slid
from net2net.capture import Node, Value

_AVERAGES = tuple(
    f"aten.{kind}{d}d" for d in (1, 2, 3) for kind in ("avg_pool", "adaptive_avg_pool", "_adaptive_avg_pool")
)
_MAXIMA = tuple(
    f"aten.{kind}{d}d{suffix}"
    for d in (1, 2, 3)
    for kind in ("max_pool", "adaptive_max_pool", "fractional_max_pool")
    for suffix in ("", "_with_indices")
)


@rule(*_AVERAGES, flow=Flow.PASS)
def average(inference: Inference, node: Node) -> list[Axes]:
    """The mean over windows of positions."""
    return _pool(inference, node, "mean")


@rule(*_MAXIMA, flow=Flow.ZERO)
def maximum(inference: Inference, node: Node) -> list[Axes]:
    """The maximum over windows of positions; over all of them, copies leave it as it is."""
    return _pool(inference, node, "max")


def _pool(inference: Inference, node: Node, kind: str) -> list[Axes]:
    x, spatial = node.inputs[0], _rank(node)
    kernel, stride, padding = _window(node, x, spatial)
    axes = list(slid(inference, node, x, kernel, stride, padding, lambda dim: _whole(inference, node, x, dim, kind)))
    channels = inference.of(x)[:-spatial]
    return [(*channels, *axes) if v.shape else () for v in node.outputs]


def _window(node: Node, x: Value, spatial: int) -> tuple[list[int], list[int], list[int]]:
    """Kernel, stride and padding of every axis; an adaptive pool's one window is as long as its axis."""
    if "adaptive" in node.op:
        lengths = x.shape[-spatial:]
        return (
            [n if out == 1 else 0 for n, out in zip(lengths, node.output.shape[-spatial:], strict=True)],
            [0] * spatial,
            [0] * spatial,
        )
    kernel = each(node["kernel_size"], spatial, [])
    if "fractional" in node.op or node.get("divisor_override") is not None:
        return [0] * spatial, kernel, [0] * spatial
    return kernel, each(node.get("stride"), spatial, kernel), each(node.get("padding"), spatial, [0] * spatial)


def _whole(inference: Inference, node: Node, x: Value, dim: int, kind: str) -> None:
    if any(inference.is_read(v) for v in node.outputs[1:]):
        lock(inference.of(x)[dim], f"positions along it are results ({node.where})")
    inference.reduce(node, x, [dim], kind)


def _rank(node: Node) -> int:
    return int(next(c for c in node.op if c.isdigit()))


@rule("aten.max_unpool2d", "aten.max_unpool3d", flow=Flow.ZERO)
def unpool(inference: Inference, node: Node) -> list[Axes]:
    """Puts entries back at the positions that they were found at: value and positions go together."""
    x, spatial = node["self"], _rank(node)
    for a, b in zip(inference.of(x), inference.of(node["indices"]), strict=True):
        unify(a, b, node.where)
    return [(*inference.of(x)[:-spatial], *consumed(inference, node, x, node.output.shape[-spatial:]))]
