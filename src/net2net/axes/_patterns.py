"""Normalisations that a model spells out in single operations, recognised so that they count as one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from net2net.axes._inference import Flow, Inference, Normalisation, Reduction, flow_of
from net2net.capture import CASTS, COPIES, Node, Value

_UNCHANGED = (*CASTS, *COPIES)


def recognise_gains(inference: Inference) -> None:
    """Where a normalisation gets `1 + w` for its gain, name the parameter w and the 1."""
    for i, norm in enumerate(inference.normalisations):
        if norm.gain is not None and not norm.gain.is_state:
            stored = stored_gain(norm.gain)
            gain, offset = stored if stored is not None else (None, 0.0)
            inference.normalisations[i] = replace(norm, gain=gain, gain_offset=offset)


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
    gain, offset, node = _gain(product)
    return Normalisation(node, reduction.term, x, "rms", gain, None, eps, offset)


def _source(value: Value) -> Value:
    """The value before any casts."""
    while value.producer is not None and value.producer.op in _UNCHANGED:
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
        elif node.op not in _UNCHANGED:
            return None, eps
        value = node.output
    return None, eps


def _same(inputs: list[Value], x: Value, root: Value) -> bool:
    return any(v is root for v in inputs) and any(_source(v) is x for v in inputs)


def readers(value: Value) -> Iterator[tuple[Node, Value]]:
    """The operations that read a value, seen through casts, with the value as they read it."""
    for node in value.consumers:
        if node.op in _UNCHANGED:
            yield from readers(node.output)
        else:
            yield node, value


def stored_gain(value: Value) -> tuple[Value, float] | None:
    """The parameter behind a gain, and the number added to it: (w, 1.0) for `1 + w`."""
    value = _source(value)
    if value.kind == "parameter":
        return value, 0.0
    node = value.producer
    if node is None or node.op != "aten.add" or len(node.inputs) != 1:
        return None
    parameter = _source(node.inputs[0])
    number = next((a for n, a in node.arguments.items() if n != "alpha" and isinstance(a, (int, float))), None)
    return (parameter, float(number)) if parameter.kind == "parameter" and number is not None else None


def _gain(product: Node) -> tuple[Value | None, float, Node]:
    """The parameter that multiplies the normalised value, what is added to it, and the node that multiplies."""
    found = list(readers(product.output))
    if len(found) == 1 and flow_of(found[0][0]) is Flow.PRODUCT:
        node, read = found[0]
        other = next((v for v in node.inputs if v is not read), None)
        stored = stored_gain(other) if other is not None else None
        if stored is not None:
            return (*stored, node)
    return None, 0.0, product
