"""Looking things up by number: the axis that is looked up in can't grow, the others pass."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import Term, lock, unify
from net2net.capture import Node


@rule("aten.embedding", flow=Flow.CONTRACT)
def embedding(inference: Inference, node: Node) -> list[Axes]:
    """Rows of a table, by number."""
    weight = inference.of(node["weight"])
    lock(weight[0], f"its rows are looked up by number ({node.where})")
    return [(*inference.of(node["indices"]), *weight[1:])]


@rule("aten.embedding_bag", flow=Flow.CONTRACT)
def embedding_bag(inference: Inference, node: Node) -> list[Axes]:
    """Sums, means or maxima of rows of a table, unit by unit; beside them, where each bag begins."""
    weight = inference.of(node["weight"])
    lock(weight[0], f"its rows are looked up by number ({node.where})")
    bags = inference.fixed(node, node.outputs[0].shape[:1], "its places are bags")
    others = [inference.fixed(node, value.shape, "its places are bags") for value in node.outputs[1:]]
    return [(*bags, weight[1]), *others]


@rule("aten.index_select", flow=Flow.PASS)
def index_select(inference: Inference, node: Node) -> list[Axes]:
    """Places of one axis, by number."""
    axes = list(inference.of(node["self"]))
    dim = node["dim"] % len(axes)
    lock(axes[dim], f"its places are looked up by number ({node.where})")
    axes[dim] = inference.of(node["index"])[0] if node["index"].shape else inference.fresh(1)
    return [tuple(axes)]


@rule("aten.index", flow=Flow.PASS)
def index(inference: Inference, node: Node) -> list[Axes]:
    """Places of some axes, by tensors of numbers; their result stands where the first one stood."""
    x, indices = node["self"], node["indices"]
    axes = inference.of(x)
    used = [d for d, i in enumerate(indices) if i is not None]
    for dim in used:
        lock(axes[dim], f"its places are looked up by number ({node.where})")
    tensors = [indices[d] for d in used]
    if any(not t.dtype.is_floating_point and str(t.dtype) == "torch.bool" for t in tensors):
        inference.lock_axes(x, node, "places are picked by a mask")
        return [inference.fixed(node, node.output.shape, "places are picked by a mask")]
    looked_up = inference.broadcast(node, [inference.of(t) for t in tensors])
    rest = [a for d, a in enumerate(axes) if d not in used]
    adjacent = used == list(range(used[0], used[-1] + 1))
    at = used[0] if adjacent else 0
    return [(*rest[:at], *looked_up, *rest[at:])]


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


@rule("aten.index_put", "aten.scatter", "aten.scatter_add", "aten.index_add", "aten.index_copy", "aten.scatter_reduce",
      "aten.masked_scatter", "aten.index_fill", "aten.select_scatter", "aten.slice_scatter", "aten.put",
      "aten.diagonal", "aten.diag_embed", "aten.take")  # fmt: skip
def scatter(inference: Inference, node: Node) -> list[Axes]:
    """Writing by number: nothing that takes part can grow."""
    for value in node.inputs:
        inference.lock_axes(value, node, "entries are written by number")
    return [inference.fixed(node, v.shape, "entries are written by number") for v in node.outputs]


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
