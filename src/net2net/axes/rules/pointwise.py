"""Operations that act on each entry by itself: operands share their axes, aligned at the end."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import split
from net2net.capture import COPIES, DROPOUTS, Node

_PASSED_ON = (
    *COPIES, *DROPOUTS, "aten.native_dropout", "aten._to_copy", "aten.neg", "aten.copy", "aten.real", "aten.imag",
    "aten.conj", "aten.chalf",
)  # fmt: skip
_ZERO_AT_ZERO = (
    "aten.relu", "aten.relu6", "aten.gelu", "aten.silu", "aten.tanh", "aten.abs", "aten.sin", "aten.hardswish",
    "aten.hardtanh", "aten.leaky_relu", "aten.elu", "aten.selu", "aten.celu", "aten.sqrt", "aten.square", "aten.mish",
    "aten.sign", "aten.erf", "aten.floor", "aten.ceil", "aten.round", "aten.trunc", "aten.expm1", "aten.log1p",
    "aten.rrelu", "aten.asinh", "aten.atan", "aten.sinh", "aten.nan_to_num", "aten.hardshrink", "aten.softshrink",
)  # fmt: skip
_OTHERS = (
    "aten.logical_not", "aten.sigmoid", "aten.exp", "aten.log", "aten.softplus",
    "aten.hardsigmoid", "aten.clamp", "aten.clamp_min", "aten.clamp_max", "aten.clip", "aten.zero", "aten.fill",
    
    "aten.bernoulli", "aten.log_sigmoid", "aten.threshold", "aten.lerp", "aten.rsqrt", "aten.__and__",
    "aten.__or__", "aten.bitwise_not", "aten.floor_divide", "aten.remainder",
    "aten.isin", "aten.bucketize",
    "aten.eq", "aten.ne", "aten.lt", "aten.le", "aten.gt", "aten.ge",
    "aten.gcd", "aten.lcm", "aten.heaviside", "aten.copysign", "aten.isclose", "aten.isreal", "aten.special_ndtr",
    "aten.complex", "aten.polar",
)  # fmt: skip


@rule("pointwise", *_OTHERS)
def pointwise(inference: Inference, node: Node) -> list[Axes]:
    """Any operation that torch itself tags as pointwise, and some that it forgot."""
    axes = inference.broadcast(node, [inference.of(v) for v in node.inputs])
    return [axes] * len(node.outputs)


rule(*_PASSED_ON, flow=Flow.PASS)(pointwise)
rule(*_ZERO_AT_ZERO, flow=Flow.ZERO)(pointwise)
rule("aten.add", "aten.sub", "aten.rsub", "aten.subtract", "aten.__iadd__", "aten.__isub__", flow=Flow.SUM)(pointwise)
rule("aten.mul", "aten.div", "aten.true_divide", "aten.multiply", "aten.divide", flow=Flow.PRODUCT)(pointwise)


@rule("aten.to", "aten.type_as", flow=Flow.PASS)
def to(inference: Inference, node: Node) -> list[Axes]:
    """A tensor in another number format: a given one, or that of another tensor, which may have any shape."""
    return [inference.of(node["self"])]


@rule("aten.pow", flow=lambda node: Flow.ZERO if _is_number(node.get("exponent"), positive=True) else Flow.OPAQUE)
def power(inference: Inference, node: Node) -> list[Axes]:
    """A power; 0 stays 0 where the exponent is a number above 0."""
    return [inference.broadcast(node, [inference.of(v) for v in node.inputs])]


def _chosen(node: Node) -> Flow:
    """A choice between tensors, or between a tensor and 0, passes units on; any other number is a unit's own."""
    numbers = [node.get(name) for name in ("self", "other", "value")]
    return Flow.OPAQUE if any(_is_number(n) and n != 0 for n in numbers) else Flow.PASS


@rule("aten.where", "aten.masked_fill", flow=_chosen)
def where(inference: Inference, node: Node) -> list[Axes]:
    """One of two tensors, entry by entry."""
    axes = inference.broadcast(node, [inference.of(v) for v in node.inputs])
    return [axes] * len(node.outputs)


def _is_number(value: object, positive: bool = False) -> bool:
    return isinstance(value, (int, float)) and (value > 0 or not positive)


@rule("aten.copy_", flow=Flow.OPAQUE)
def copy_(inference: Inference, node: Node) -> list[Axes]:
    """Writing into a tensor: the source is stretched to the target."""
    inference.broadcast(node, [inference.of(v) for v in node.inputs])
    return [inference.of(node["self"])]


@rule("aten.prelu", "aten._prelu_kernel", flow=Flow.ZERO)
def prelu(inference: Inference, node: Node) -> list[Axes]:
    """One slope per channel (axis 1), or one for all."""
    x, weight = inference.of(node["self"]), inference.of(node["weight"])
    if node.op == "aten.prelu" and node["weight"].shape != (1,) and len(weight) == 1:
        inference.broadcast(node, [(x[1 if len(x) > 1 else 0],), weight])
    elif node.op != "aten.prelu":
        return [inference.broadcast(node, [x, weight])]
    return [x]


@rule("aten.glu")
def glu(inference: Inference, node: Node) -> list[Axes]:
    """The first half of an axis times the sigmoid of the second half."""
    axes = list(inference.of(node["self"]))
    dim = node["dim"] % len(axes)
    half = node["self"].shape[dim] // 2
    left, right = split(axes[dim], [half, half], node.where)
    (axes[dim],) = inference.broadcast(node, [(left,), (right,)])
    return [tuple(axes)]
