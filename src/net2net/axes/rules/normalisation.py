"""Normalisations: which axis they average over, and the parameters that go along with a unit."""

from __future__ import annotations

from collections.abc import Iterable

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import Term, size, unflatten, unify
from net2net.capture import Node


def _along(inference: Inference, node: Node, channel: Term, *names: str) -> None:
    for name in names:
        value = node.get(name)
        if value is not None:
            unify(channel, inference.of(value)[0], node.where)


def _measured(inference: Inference, node: Node, dims: Iterable[int]) -> None:
    inference.lock_axes(node["input"], node, "mean and variance are taken over it", list(dims))


@rule("aten.batch_norm", flow=Flow.AFFINE)
def batch_norm(inference: Inference, node: Node) -> list[Axes]:
    """Every channel by itself, over batch and positions."""
    axes = inference.of(node["input"])
    _along(inference, node, axes[1], "weight", "bias", "running_mean", "running_var")
    if node["training"] or node["running_mean"] is None:
        _measured(inference, node, [0, *range(2, len(axes))])
    return [axes] * len(node.outputs)


@rule("aten.instance_norm", flow=Flow.AFFINE)
def instance_norm(inference: Inference, node: Node) -> list[Axes]:
    """Every channel of every sample by itself, over positions."""
    axes = inference.of(node["input"])
    _along(inference, node, axes[1], "weight", "bias", "running_mean", "running_var")
    if node["use_input_stats"]:
        _measured(inference, node, range(2, len(axes)))
    return [axes]


@rule("aten.layer_norm", "aten.rms_norm", "aten._fused_rms_norm", flow=Flow.AFFINE)
def layer_norm(inference: Inference, node: Node) -> list[Axes]:
    """Over the last axes; gain and shift have those axes."""
    x = node["input"]
    axes = inference.of(x)
    count = len(node["normalized_shape"])
    for name in ("weight", "bias"):
        if node.get(name) is not None:
            inference.broadcast(node, [axes[-count:], inference.of(node[name])])
    for dim in range(len(axes) - count, len(axes)):
        if x.shape[dim] != 1:
            inference.normalise(node, x, dim, "layer" if node.op == "aten.layer_norm" else "rms")
    return [axes]


@rule("aten._weight_norm", flow=Flow.PRODUCT)
def weight_norm(inference: Inference, node: Node) -> list[Axes]:
    """Every output unit's weights, divided by their norm over all other axes, times a factor of its own."""
    v, g = node["v"], node["g"]
    dims = [d for d in range(len(v.shape)) if g.shape[d : d + 1] != v.shape[d : d + 1] or len(g.shape) != len(v.shape)]
    inference.reduce(node, v, dims, "norm")
    if g.shape:
        inference.broadcast(node, [inference.of(v), inference.of(g)])
    return [inference.of(v)]


@rule("aten.group_norm", flow=Flow.AFFINE)
def group_norm(inference: Inference, node: Node) -> list[Axes]:
    """Over the channels of a group and the positions: groups are independent, channels in a group are mixed."""
    x, groups = node["input"], node["num_groups"]
    axes = inference.of(x)
    _, inner = unflatten(axes[1], [groups, size(axes[1]) // groups], node.where)
    _along(inference, node, axes[1], "weight", "bias")
    if size(inner) > 1:
        inference.reduce_term(node, x, inner, "moments")
    return [axes]
