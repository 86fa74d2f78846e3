"""Where a factor can be made up for after a value: in the weights of all that read it."""

from __future__ import annotations

from net2net.axes import Flow, Inference, flow_of
from net2net.capture import Node, Value
from net2net.sites._scaling import Scaling
from net2net.sites._trace import NotPossible, factors_of, is_homogeneous, merged, passed_by

_POWERS = {"aten.sqrt": 0.5, "aten.square": 2.0, "aten.reciprocal": -1.0, "aten.rsqrt": -0.5}


def absorbed(inference: Inference, value: Value) -> Scaling:
    """What has to be scaled after a value, as if it were multiplied itself.

    Raises:
        NotPossible: one of its readers passes no factor on to a weight.
    """
    scaling = Scaling(inference)
    _read(scaling, value, 1.0)
    return scaling


def _read(scaling: Scaling, value: Value, power: float) -> None:
    graph = scaling.inference.graph
    if value in graph.outputs.values() or value in graph.mutated:
        raise NotPossible(f"{value.name} is an output, or is written to in place")
    for node in dict.fromkeys(value.consumers):
        _through(scaling, value, node, power)


def _through(scaling: Scaling, value: Value, node: Node, power: float) -> None:
    flow = flow_of(node)
    operands = [v for v in node.inputs if v.dtype.is_floating_point]
    others = [v for v in operands if v is not value]
    multiplies = flow is Flow.PRODUCT and node.op.removesuffix("_") in ("aten.mul", "aten.multiply")
    factors = factors_of(node) if flow is Flow.CONTRACT else operands if multiplies else []
    weights = [v for v in factors if v is not value and v.kind == "parameter" and v.consumers == [node]]
    if weights and factors.count(value) == 1 and value in factors and len(factors) == 2:
        scaling.put_whole(weights[0], power)
    elif flow is Flow.PRODUCT and "div" in node.op:
        both = operands[0] is value, operands[1:] == [value]
        _read(scaling, node.output, power * (both[0] - both[1]))
    elif multiplies:
        _read(scaling, node.output, power * (len(operands) - len(others)))
    elif node.op.removesuffix("_") in _POWERS:
        _read(scaling, node.output, power * _POWERS[node.op.removesuffix("_")])
    elif len(node.outputs) == 1 and _passes(node, value, flow):
        _read(scaling, node.output, power)
    else:
        raise NotPossible(f"{node.where} doesn't let a factor pass")


def _passes(node: Node, value: Value, flow: Flow) -> bool:
    if is_homogeneous(node):
        return node.inputs[0] is value
    return flow is Flow.PASS and len(merged(node)) <= 1 and passed_by(node) == [value]
