"""Sums of products under other names than a matrix product's."""

from __future__ import annotations

from itertools import pairwise

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import UNIT, lock, product, unify
from net2net.axes.rules.linear import matrix_product
from net2net.capture import Node


@rule("aten.tensordot", flow=Flow.CONTRACT)
def tensordot(inference: Inference, node: Node) -> list[Axes]:
    """Pairs of axes are summed over, the others laid side by side."""
    a, b = node["self"], node["other"]
    left = [d % len(a.shape) for d in node["dims_self"]]
    right = [d % len(b.shape) for d in node["dims_other"]]
    for i, j in zip(left, right, strict=True):
        if a.shape[i] == b.shape[j]:
            inference.contract(node, (a, i), (b, j))
        else:  # an axis of size 1 is stretched
            inference.lock_axes(a, node, "it is summed over against one place", [i])
            inference.lock_axes(b, node, "it is summed over against one place", [j])
    kept = [t for d, t in enumerate(inference.of(a)) if d not in left]
    return [(*kept, *(t for d, t in enumerate(inference.of(b)) if d not in right))]


@rule("aten.addmv", flow=Flow.CONTRACT)
def addmv(inference: Inference, node: Node) -> list[Axes]:
    """A bias plus a matrix times a vector."""
    result = matrix_product(inference, node, node["mat"], node["vec"])
    return [inference.broadcast(node, [result, inference.of(node["self"])])]


@rule("aten.addbmm", flow=Flow.CONTRACT)
def addbmm(inference: Inference, node: Node) -> list[Axes]:
    """A bias plus products of matrices, summed over the batch."""
    a, b = node["batch1"], node["batch2"]
    inference.contract(node, (a, 2), (b, 1))
    inference.contract(node, (a, 0), (b, 0))
    result = (inference.of(a)[1], inference.of(b)[2])
    return [inference.broadcast(node, [result, inference.of(node["self"])])]


@rule("aten.outer", "aten.ger", flow=Flow.CONTRACT)
def outer(inference: Inference, node: Node) -> list[Axes]:
    """Every entry of one vector times every entry of another."""
    a, b = node.inputs
    return [(*inference.of(a), *inference.of(b))]


@rule("aten.addr", flow=Flow.CONTRACT)
def addr(inference: Inference, node: Node) -> list[Axes]:
    """A matrix plus the product of two vectors."""
    result = (*inference.of(node["vec1"]), *inference.of(node["vec2"]))
    return [inference.broadcast(node, [result, inference.of(node["self"])])]


@rule("aten.inner", "aten.vdot", "aten.linalg_vecdot", flow=Flow.CONTRACT)
def inner(inference: Inference, node: Node) -> list[Axes]:
    """The last axes against each other: `inner` takes every pair of rows, the others row by row."""
    a, b = node.inputs[:2]
    if not a.shape or not b.shape or node.get("dim", -1) not in (-1, len(a.shape) - 1) or a.shape[-1] != b.shape[-1]:
        for value in (a, b):
            inference.lock_axes(value, node, "a product of uneven operands")
        return [inference.fixed(node, node.output.shape, "a product of uneven operands")]
    inference.contract(node, (a, len(a.shape) - 1), (b, len(b.shape) - 1))
    left, right = inference.of(a)[:-1], inference.of(b)[:-1]
    return [(*left, *right) if node.op == "aten.inner" else inference.broadcast(node, [left, right])]


@rule("aten.kron")
def kron(inference: Inference, node: Node) -> list[Axes]:
    """Every axis is the product of the operands' axes."""
    left, right = inference.of(node["self"]), inference.of(node["other"])
    count = max(len(left), len(right))
    left, right = (UNIT,) * (count - len(left)) + left, (UNIT,) * (count - len(right)) + right
    return [tuple(product([a, b]) for a, b in zip(left, right, strict=True))]


@rule("aten.linalg_multi_dot", "aten.chain_matmul")
def chain(inference: Inference, node: Node) -> list[Axes]:
    """Matrices one after the other: each pair of neighbours shares the axis between them."""
    values = node.inputs
    for a, b in pairwise(values):
        inference.contract(node, (a, len(a.shape) - 1), (b, 0))
    return [(*inference.of(values[0])[:-1], *inference.of(values[-1])[1:])]


@rule("aten.cdist", "aten._euclidean_dist")
def cdist(inference: Inference, node: Node) -> list[Axes]:
    """Distances of rows: their features are compared, so copies would count twice."""
    a, b = inference.of(node.inputs[0]), inference.of(node.inputs[1])
    unify(a[-1], b[-1], node.where)
    lock(a[-1], f"distances along it ({node.where})")
    return [(*inference.broadcast(node, [a[:-2], b[:-2]]), a[-2], b[-2])]
