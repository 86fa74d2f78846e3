"""Pooling: channels pass, positions are fixed by the input."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.capture import Node

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
    return _pool(inference, node)


@rule(*_MAXIMA, "aten.max_unpool2d", "aten.max_unpool3d", flow=Flow.ZERO)
def maximum(inference: Inference, node: Node) -> list[Axes]:
    """The maximum over windows of positions."""
    return _pool(inference, node)


def _pool(inference: Inference, node: Node) -> list[Axes]:
    spatial = int(next(c for c in node.op if c.isdigit()))
    channels = inference.of(node.inputs[0])[:-spatial]
    return [
        (*channels, *inference.fixed(node, v.shape[-spatial:], "a spatial axis")) if v.shape else ()
        for v in node.outputs
    ]
