"""Convolutions, plain, grouped, depthwise and transposed, in any number of spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence

from net2net.axes._inference import Axes, Contraction, Flow, Inference, rule
from net2net.axes._terms import Term, product, size, unflatten, unify
from net2net.axes.rules._windows import each, slid
from net2net.capture import Node


@rule("aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.convolution", flow=Flow.CONTRACT)
def convolution(inference: Inference, node: Node) -> list[Axes]:
    """W is (groups x out, in, kernel...); groups pair blocks of input channels with blocks of output channels."""
    if node.get("transposed"):
        return [tuple(axes) for axes in transposed(inference, node)]
    x, weight, groups = node["input"], node["weight"], node["groups"]
    spatial = len(weight.shape) - 2
    channel = len(x.shape) - spatial - 1
    of_weight = inference.of(weight)
    group, inner = _blocks(inference.of(x)[channel], groups, node)
    unify(inner, of_weight[1], node.where)
    out_group, _ = _blocks(of_weight[0], groups, node)
    unify(group, out_group, node.where)
    inference.contractions.append(Contraction(node, inner, (weight, 1), (x, channel)))
    return [_result(inference, node, of_weight[0], channel)]


@rule("aten.conv_transpose1d", "aten.conv_transpose2d", "aten.conv_transpose3d", flow=Flow.CONTRACT)
def transposed(inference: Inference, node: Node) -> list[Axes]:
    """W is (groups x in, out, kernel...)."""
    x, weight, groups = node["input"], node["weight"], node["groups"]
    channel = len(x.shape) - len(weight.shape) + 1
    of_weight = inference.of(weight)
    group, inner = _blocks(inference.of(x)[channel], groups, node)
    weight_group, weight_inner = _blocks(of_weight[0], groups, node)
    unify(group, weight_group, node.where)
    unify(inner, weight_inner, node.where)
    inference.contractions.append(Contraction(node, inner, (weight, 0), (x, channel)))
    return [_result(inference, node, product([group, of_weight[1]]), channel)]


@rule("aten.conv_tbc", flow=Flow.CONTRACT)
def time_first(inference: Inference, node: Node) -> list[Axes]:
    """Time, batch, channels; W is (kernel, in, out)."""
    x, weight, bias = node["self"], node["weight"], node["bias"]
    inference.lock_axes(x, node, "a window slides along it", [0])
    inference.lock_axes(weight, node, "it is a kernel's", [0])
    inference.contract(node, (x, 2), (weight, 1))
    unify(inference.of(weight)[2], inference.of(bias)[0], node.where)
    return [(*inference.fixed(node, node.output.shape[:1], "a spatial axis"), inference.of(x)[1],
             inference.of(weight)[2])]  # fmt: skip


def _blocks(term: Term, groups: int, node: Node) -> list[Term]:
    return unflatten(term, [groups, size(term) // groups], node.where)


def _result(inference: Inference, node: Node, out: Term, channel: int) -> Axes:
    x, weight = node["input"], node["weight"]
    if node["bias"] is not None:
        unify(out, inference.of(node["bias"])[0], node.where)
    inference.lock_axes(weight, node, "it is a kernel's", range(2, len(weight.shape)))
    kernel = weight.shape[2:]
    count = len(kernel)
    spatial = slid(inference, node, x, kernel, each(node["stride"], count, [1] * count), _padding(node, kernel))
    return (*inference.of(x)[:channel], out, *spatial)


def _padding(node: Node, kernel: Sequence[int]) -> list[int]:
    padding = node["padding"]
    if isinstance(padding, str):
        return [0 if padding == "valid" or k == 1 else k for k in kernel]
    return each(padding, len(kernel), [0] * len(kernel))
