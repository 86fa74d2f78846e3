"""Normalisations that a model spells out in single operations, recognised so that they count as one."""

from __future__ import annotations

from collections.abc import Iterator

from net2net.axes._inference import Flow, Inference, Normalisation, Reduction, flow_of
from net2net.capture import Node, Value

_CASTS = ("aten.to", "aten._to_copy", "aten.type_as", "aten.clone", "aten.contiguous")


def recognise_rms(inference: Inference) -> None:
    """Replace the mean of `x * rsqrt(mean(x^2) + eps) * gain` by one root-mean-square normalisation.

    The gain may be stored as `gain - 1` (Gemma). What doesn't match stays a plain mean.
    """
    for reduction in [r for r in inference.reductions if r.kind == "mean"]:
        found = _match(inference, reduction)
        if found is not None:
            inference.reductions.remove(reduction)
            inference.normalisations.append(found)


def _match(inference: Inference, reduction: Reduction) -> Normalisation | None:
    x = _squared(reduction.value)
    if x is None:
        return None
    root, eps = _inverse_root(reduction.node.output)
    if root is None:
        return None
    product = next((n for n in root.consumers if flow_of(n) is Flow.PRODUCT and _same(n.inputs, x, root)), None)
    if product is None:
        return None
    gain, offset, node = _gain(inference, product)
    return Normalisation(node, reduction.term, x, "rms", gain, None, eps, offset)


def _source(value: Value) -> Value:
    """The value before any casts."""
    while value.producer is not None and value.producer.op in _CASTS:
        value = value.producer.inputs[0]
    return value


def _squared(value: Value) -> Value | None:
    node = value.producer
    if node is None:
        return None
    if node.op == "aten.square" or (node.op == "aten.pow" and node.get("exponent") == 2):
        return _source(node.inputs[0])
    if node.op == "aten.mul" and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]:
        return _source(node.inputs[0])
    return None


def _inverse_root(mean: Value) -> tuple[Value | None, float]:
    """The value 1 / sqrt(mean + eps) or sqrt(mean + eps), and eps."""
    value, eps = mean, 0.0
    for _ in range(4):
        if len(value.consumers) != 1:
            return None, eps
        node = value.consumers[0]
        if node.op == "aten.add" and isinstance(node.get("other"), (int, float)):
            eps = float(node["other"])
        elif node.op in ("aten.rsqrt", "aten.sqrt") or (node.op == "aten.pow" and node.get("exponent") in (-0.5, 0.5)):
            return node.output, eps
        elif node.op not in _CASTS:
            return None, eps
        value = node.output
    return None, eps


def _same(inputs: list[Value], x: Value, root: Value) -> bool:
    return any(v is root for v in inputs) and any(_source(v) is x for v in inputs)


def _readers(value: Value) -> Iterator[tuple[Node, Value]]:
    """The operations that read a value, seen through casts, with the value as they read it."""
    for node in value.consumers:
        if node.op in _CASTS:
            yield from _readers(node.output)
        else:
            yield node, value


def _gain(inference: Inference, product: Node) -> tuple[Value | None, float, Node]:
    """The parameter that multiplies the normalised value, what is added to it, and the node that multiplies."""
    readers = list(_readers(product.output))
    if len(readers) == 1 and flow_of(readers[0][0]) is Flow.PRODUCT:
        node, read = readers[0]
        other = next((_source(v) for v in node.inputs if v is not read), None)
        if other is not None and other.kind == "parameter":
            return other, 0.0, node
        maker = other.producer if other is not None else None
        if maker is not None and maker.op == "aten.add":
            parameter = next((_source(v) for v in maker.inputs if _source(v).kind == "parameter"), None)
            constant = next((a for a in maker.arguments.values() if isinstance(a, float)), None)
            if constant is None and isinstance(maker.get("other"), int):
                constant = float(maker["other"])
            if parameter is not None and constant is not None and len(maker.inputs) == 1:
                return parameter, constant, node
    return None, 0.0, product
