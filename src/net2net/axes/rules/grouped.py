"""What mixtures of experts are made of: products of groups of rows, and counts of who goes where."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import lock, unify
from net2net.axes.rules.linear import matrix_product
from net2net.capture import Node, Value

_ROWS = "its rows fall into groups"


@rule("aten._grouped_mm", "transformers.grouped_mm_fallback", flow=Flow.CONTRACT)
def grouped_product(inference: Inference, node: Node) -> list[Axes]:
    """Each group of rows times the matrix of its own: (S, I) x (E, I, O) -> (S, O), where `offs` says where each of E
    groups ends. The groups may lie along any of the three axes."""
    a, b, offsets = node.get("self", node.get("input")), node.get("mat2", node.get("weight")), node.get("offs")
    left, right = inference.of(a), inference.of(b)
    if offsets is None:  # every matrix has as many rows: a batch
        return [matrix_product(inference, node, a, b)]
    groups = inference.of(offsets)[0]
    lock(groups, f"its places are groups ({node.where})")
    if len(left) == len(right) == 2:  # along what is summed over: one product for each group
        inference.lock_axes(a, node, _ROWS, [1])
        inference.lock_axes(b, node, _ROWS, [0])
        return [(groups, left[0], right[1])]
    stacked, rows = (b, (a, 0)) if len(left) == 2 else (a, (b, 1))
    inference.contract(node, (a, len(left) - 1), (b, len(right) - 2))
    inference.lock_axes(rows[0], node, _ROWS, [rows[1]])
    unify(inference.of(stacked)[0], groups, node.where)
    result = (left[-2], right[-1])
    return [_shifted(inference, node, result, node.get("bias"))]


def _shifted(inference: Inference, node: Node, result: Axes, bias: Value | None) -> Axes:
    return result if bias is None else inference.broadcast(node, [result, inference.of(bias)[-1:]])


@rule("aten.histc", "aten.bincount", "aten.nonzero", "aten.nonzero_static", "aten.argwhere", "aten.unique_dim",
      "aten._unique2", "aten.unique_consecutive", "aten.searchsorted")  # fmt: skip
def counted(inference: Inference, node: Node) -> list[Axes]:
    """Entries are counted, or looked for: how many there are matters, so nothing that takes part can grow."""
    for value in node.inputs:
        inference.lock_axes(value, node, "its entries are counted")
    return [inference.fixed(node, v.shape, "entries are counted") for v in node.outputs]
