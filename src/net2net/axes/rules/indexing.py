"""Looking things up by number: the axis that is looked up in can't grow, the others pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import Lock, LockKind, Term, lock, unify
from net2net.capture import Node, Value


def _columns(inference: Inference, node: Node) -> Axes:
    """The axes of a table, whose rows are fixed unless the numbers that look them up are given anew."""
    table: Value = node["weight"]
    axes = inference.of(table)
    if table.name not in inference.opened.tables:
        lock(axes[0], f"its rows are looked up by number ({node.where})")
    return axes


@rule("aten.embedding", flow=Flow.CONTRACT)
def embedding(inference: Inference, node: Node) -> list[Axes]:
    """Rows of a table, by number."""
    weight = _columns(inference, node)
    return [(*inference.of(node["indices"]), *weight[1:])]


@rule("aten.embedding_bag", flow=Flow.CONTRACT)
def embedding_bag(inference: Inference, node: Node) -> list[Axes]:
    """Sums, means or maxima of rows of a table, unit by unit; beside them, where each bag begins."""
    weight = _columns(inference, node)
    bags = inference.fixed(node, node.outputs[0].shape[:1], "its places are bags")
    others = [inference.fixed(node, value.shape, "its places are bags") for value in node.outputs[1:]]
    return [(*bags, weight[1]), *others]


@rule("aten.index_select", flow=Flow.PASS)
def index_select(inference: Inference, node: Node) -> list[Axes]:
    """Places of one axis, by number."""
    axes = list(inference.of(node["self"]))
    if not axes:
        return [()]
    dim = node["dim"] % len(axes)
    lock(axes[dim], f"its places are looked up by number ({node.where})")
    axes[dim] = inference.of(node["index"])[0] if node["index"].shape else inference.fresh(1)
    return [tuple(axes)]


@rule("aten.index", flow=Flow.PASS)
def index(inference: Inference, node: Node) -> list[Axes]:
    """Places of some axes, by tensors of numbers or by masks; their result stands where the first one stood."""
    first = next(d for d, numbers in enumerate(node["indices"]) if numbers is not None)
    return [picked(inference, node, node.output.shape[first:] or (1,))]


def picked(inference: Inference, node: Node, lengths: Sequence[int]) -> Axes:
    """The axes of `self[indices]`. The axes that are looked up in are locked, the others pass.

    A mask picks `lengths[0]` places.
    """
    axes = inference.of(node["self"])
    used: list[int] = []
    looked_up: list[Axes] = []
    at, unknown = 0, f"its length depends on values ({node.where})"
    for numbers in node["indices"]:
        if numbers is None:
            at += 1
            continue
        is_mask = numbers.dtype in (torch.bool, torch.uint8)
        covered = len(numbers.shape) if is_mask else 1  # a mask stands for as many axes as it has
        used.extend(range(at, at + covered))
        at += covered
        if is_mask:
            inference.lock_axes(numbers, node, "places are picked by a mask")
        looked_up.append(
            (inference.fresh(lengths[0], Lock(LockKind.OPERATION, unknown)),) if is_mask else inference.of(numbers)
        )
    for dim in used:
        lock(axes[dim], f"its places are looked up by number ({node.where})")
    rest = [a for d, a in enumerate(axes) if d not in used]
    first = used[0] if _adjacent(used) else 0
    return (*rest[:first], *inference.broadcast(node, looked_up), *rest[first:])


def _adjacent(used: list[int]) -> bool:
    return used == list(range(used[0], used[-1] + 1))


@rule("aten.gather", "aten.take_along_dim", flow=Flow.PASS)
def gather(inference: Inference, node: Node) -> list[Axes]:
    """Along one axis places are looked up; along the others the table and the numbers go together."""
    x, numbers = node["self"], node.get("index", node.get("indices"))
    axes, wanted = inference.of(x), inference.of(numbers)
    dim = node["dim"] % len(axes)
    result: list[Term] = []
    for d, (a, b) in enumerate(zip(axes, wanted, strict=True)):
        if d == dim:
            lock(a, f"its places are looked up by number ({node.where})")
        elif x.shape[d] == numbers.shape[d]:
            unify(a, b, node.where)
        else:
            lock(a, f"only the first of its places are looked up ({node.where})")
        result.append(b)
    return [tuple(result)]


@rule("aten.masked_scatter", "aten.put", "aten.take", "aten.diagonal", "aten.diag_embed")
def by_number(inference: Inference, node: Node) -> list[Axes]:
    """Entries in the order of the whole tensor, or along a diagonal: nothing that takes part can grow."""
    for value in node.inputs:
        inference.lock_axes(value, node, "entries are counted through")
    return [inference.fixed(node, v.shape, "entries are counted through") for v in node.outputs]


@rule("aten.tril", "aten.triu", flow=Flow.PASS)
def triangle(inference: Inference, node: Node) -> list[Axes]:
    """Keeps the entries on one side of the diagonal of the last two axes."""
    inference.lock_axes(node["self"], node, "its places are compared by number", [-1, -2])
    return [inference.of(node["self"])]


@rule("aten.one_hot")
def one_hot(inference: Inference, node: Node) -> list[Axes]:
    """A new axis whose places are classes."""
    classes = inference.fixed(node, node.output.shape[-1:], "its places are classes")
    return [(*inference.of(node["self"]), *classes)]
