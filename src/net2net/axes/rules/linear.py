"""Products of matrices: an axis of each operand is summed over."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import UNIT, Term, lock, unify
from net2net.capture import Node, Value


@rule("aten.linear", flow=Flow.CONTRACT)
def linear(inference: Inference, node: Node) -> list[Axes]:
    """y[..., o] = sum_i x[..., i] W[o, i] + b[o]"""
    x, weight, bias = node["input"], node["weight"], node["bias"]
    inference.contract(node, (x, len(x.shape) - 1), (weight, len(weight.shape) - 1))
    out = inference.of(weight)[0]
    if bias is not None:
        inference.broadcast(node, [(out,), inference.of(bias)])
    return [(*inference.of(x)[:-1], *((out,) if len(weight.shape) == 2 else ()))]


@rule("aten.addmm", "aten.baddbmm", flow=Flow.CONTRACT)
def addmm(inference: Inference, node: Node) -> list[Axes]:
    """A bias plus a product."""
    a, b = (node["mat1"], node["mat2"]) if node.op.startswith("aten.addmm") else (node["batch1"], node["batch2"])
    return [inference.broadcast(node, [matrix_product(inference, node, a, b), inference.of(node["self"])])]


@rule(
    "aten.mm",
    "aten.bmm",
    "aten.matmul",
    "aten.mv",
    "aten.dot",
    "aten.__matmul__",
    "aten.linalg_matmul",
    flow=Flow.CONTRACT,
)
def matmul(inference: Inference, node: Node) -> list[Axes]:
    """The last axis of the first operand against the last but one of the second; leading axes side by side."""
    first, second = node.inputs[:2]
    return [matrix_product(inference, node, first, second)]


def matrix_product(inference: Inference, node: Node, a: Value, b: Value) -> Axes:
    """The axes of the product of two values, as of `a @ b`."""
    inference.contract(node, (a, len(a.shape) - 1), (b, max(len(b.shape) - 2, 0)))
    left, right = inference.of(a), inference.of(b)
    batch = inference.broadcast(node, [left[:-2], right[:-2]])
    return (*batch, *left[-2:-1], *(right[-1:] if len(right) > 1 else ()))


@rule("aten._sparse_mm", flow=Flow.CONTRACT)
def sparse_product(inference: Inference, node: Node) -> list[Axes]:
    """A product whose first operand is stored by its entries; another reduction than a sum is none."""
    if node.get("reduce", "sum") != "sum":
        reason = "places are compared or averaged"
        for value in node.inputs:
            inference.lock_axes(value, node, reason)
        return [inference.fixed(node, node.output.shape, reason)]
    return [matrix_product(inference, node, node["sparse"], node["dense"])]


@rule("aten.einsum", flow=Flow.CONTRACT)
def einsum(inference: Inference, node: Node) -> list[Axes]:
    """Axes with the same letter are one axis; a letter that the result lacks is summed over."""
    operands: tuple[Value, ...] = node["tensors"]
    inputs, _, output = node["equation"].replace(" ", "").partition("->")
    labels = [_expand(text, len(v.shape)) for text, v in zip(inputs.split(","), operands, strict=True)]
    if not output and "->" not in node["equation"]:
        counts = [label for one in labels for label in one]
        output_labels = sorted(label for label in set(counts) if counts.count(label) == 1)
    else:
        ellipsis = max((n for n in (sum(len(k) > 1 for k in one) for one in labels)), default=0)
        output_labels = _expand(output, len(output.replace("...", "")) + ellipsis)
    terms: dict[str, Term] = {}
    for one, value in zip(labels, operands, strict=True):
        for label, term, length in zip(one, inference.of(value), value.shape, strict=True):
            if label in terms and length != 1:
                unify(terms[label], term, node.where)
            elif length != 1:
                terms[label] = term
    for label in terms.keys() - set(output_labels):
        places = [(v, one.index(label)) for one, v in zip(labels, operands, strict=True) if label in one]
        if len(places) == 2:
            inference.contract(node, places[0], places[1])
        elif len(places) == 1:
            inference.reduce(node, places[0][0], [places[0][1]], "sum")
        else:
            lock(terms[label], f"a sum over a product of {len(places)} tensors ({node.where})")
    return [tuple(terms.get(label, UNIT) for label in output_labels)]


def _expand(text: str, rank: int) -> list[str]:
    """Letters of one operand; the axes under an ellipsis are counted from its end, so that they align."""
    if "..." not in text:
        return list(text)
    before, _, after = text.partition("...")
    hidden = rank - len(before) - len(after)
    return [*before, *(f"...{i}" for i in range(hidden, 0, -1)), *after]


@rule("aten.bilinear", flow=Flow.OPAQUE)
def bilinear(inference: Inference, node: Node) -> list[Axes]:
    """y[..., o] = sum_ij a[..., i] W[o, i, j] b[..., j]"""
    a, b, weight, bias = node["input1"], node["input2"], node["weight"], node["bias"]
    inference.contract(node, (a, len(a.shape) - 1), (weight, 1))
    inference.contract(node, (b, len(b.shape) - 1), (weight, 2))
    out = inference.of(weight)[0]
    if bias is not None:
        unify(out, inference.of(bias)[0], node.where)
    batch = inference.broadcast(node, [inference.of(a)[:-1], inference.of(b)[:-1]])
    return [(*batch, out)]
