"""Operations that look at a whole axis at once: sums, means, maxima, softmax, sorting."""

from __future__ import annotations

from collections.abc import Sequence

from net2net.axes._inference import Axes, Flow, Inference, base_name, rule
from net2net.axes._terms import UNIT, lock
from net2net.capture import Node, Value


def _dims(node: Node) -> list[int]:
    rank, dims = len(node["self"].shape), node.get("dim")
    if dims is None or (isinstance(dims, Sequence) and not dims):
        return list(range(rank))
    return [d % rank for d in ([dims] if isinstance(dims, int) else dims)] if rank else []


def _without(inference: Inference, node: Node, dims: Sequence[int]) -> list[Axes]:
    keep = len(node.output.shape) == len(node["self"].shape)
    axes = inference.of(node["self"])
    result = tuple((UNIT if d in dims else a) for d, a in enumerate(axes) if keep or d not in dims)
    return [result] * len(node.outputs)


@rule("aten.mean", flow=Flow.PASS)
def mean(inference: Inference, node: Node) -> list[Axes]:
    """Unchanged when every unit of the axis is copied equally often."""
    inference.reduce(node, node["self"], _dims(node), "mean")
    return _without(inference, node, _dims(node))


@rule("aten.sum", flow=Flow.PASS)
def sum_(inference: Inference, node: Node) -> list[Axes]:
    """A contraction with ones; of a product that nothing else reads, a contraction of its factors."""
    for dim in _dims(node):
        factors = _factors(node["self"], dim)
        if factors is None:
            inference.reduce(node, node["self"], [dim], "sum")
        else:
            inference.contract(node["self"].producer, *factors)
    return _without(inference, node, _dims(node))


def _factors(value: Value, dim: int) -> tuple[tuple[Value, int], tuple[Value, int]] | None:
    """The two tensors, each with its axis, of a product that is summed over `dim` and read nowhere else."""
    node = value.producer
    if node is None or base_name(node.op) not in ("aten.mul", "aten.multiply") or len(value.consumers) != 1:
        return None
    places = [(v, dim - len(value.shape) + len(v.shape)) for v in node.inputs]
    if len(places) != 2 or any(d < 0 or v.shape[d] != value.shape[dim] or v.shape[d] == 1 for v, d in places):
        return None
    return places[0], places[1]


@rule("aten.amax", "aten.amin", "aten.max", "aten.min", "aten.all", "aten.any", "aten.logsumexp_max")
def maximum(inference: Inference, node: Node) -> list[Axes]:
    """Unchanged by copies. With two operands it is pointwise; with a dimension it also gives positions."""
    if node.get("other") is not None:
        return [inference.broadcast(node, [inference.of(v) for v in node.inputs])]
    kind = "positions" if any(inference.is_read(v) for v in node.outputs[1:]) else "max"
    if kind == "positions":
        inference.lock_axes(node["self"], node, "positions along it are compared", _dims(node))
    inference.reduce(node, node["self"], _dims(node), kind)
    return _without(inference, node, _dims(node))


@rule("aten.var", "aten.std", "aten.var_mean", "aten.std_mean")
def variance(inference: Inference, node: Node) -> list[Axes]:
    """The biased variance is a mean; the unbiased one divides by n - 1, which copies don't keep."""
    biased = node.get("correction") == 0 or node.get("unbiased") is False
    if biased:
        inference.reduce(node, node["self"], _dims(node), "moments")
    else:
        inference.lock_axes(node["self"], node, "an unbiased variance over it", _dims(node))
    return _without(inference, node, _dims(node))


@rule("aten.norm", "aten.linalg_vector_norm")
def norm(inference: Inference, node: Node) -> list[Axes]:
    """Zeros leave a norm as it is, copies don't."""
    power = node.get("p", node.get("ord"))
    if power is None or (isinstance(power, (int, float)) and power > 0):
        inference.reduce(node, node["self"], _dims(node), "norm")
    else:
        inference.lock_axes(node["self"], node, "a norm that counts its places", _dims(node))
    return _without(inference, node, _dims(node))


@rule("aten.cosine_similarity")
def cosine_similarity(inference: Inference, node: Node) -> list[Axes]:
    """A sum of products over the norms of both operands."""
    operands = node["x1"], node["x2"]
    rank = max(len(v.shape) for v in operands)
    dim = node["dim"] % rank
    places = [(v, dim - rank + len(v.shape)) for v in operands]
    axes = inference.broadcast(node, [inference.of(v) for v in operands])
    if all(d >= 0 and v.shape[d] != 1 for v, d in places):
        inference.contract(node, *places)
        for value, axis in places:
            inference.reduce(node, value, [axis], "norm")
    else:
        lock(axes[dim], f"one entry is compared with all along it ({node.where})")
    return [(*axes[:dim], *axes[dim + 1 :])]


@rule("aten.pairwise_distance")
def pairwise_distance(inference: Inference, node: Node) -> list[Axes]:
    """A norm of differences, with an eps added to each: new units would add theirs."""
    axes = inference.broadcast(node, [inference.of(node["x1"]), inference.of(node["x2"])])
    lock(axes[-1], f"each unit adds an eps to the distance; (a - b).norm(dim=-1) has none ({node.where})")
    return [(*axes[:-1], UNIT) if node["keepdim"] else axes[:-1]]


@rule("aten.prod", "aten.logsumexp", "aten.argmax", "aten.argmin",
      "aten.nansum", "aten.median", "aten.count_nonzero", "aten.mode", "aten.nanmean", "aten.quantile")  # fmt: skip
def other_reduction(inference: Inference, node: Node) -> list[Axes]:
    """Depends on how many units there are."""
    inference.lock_axes(node["self"], node, "a reduction that copies or new units would change", _dims(node))
    return _without(inference, node, _dims(node))


@rule("aten.softmax", "aten.log_softmax", "aten._softmax", "aten._log_softmax", "aten.special_softmax",
      "aten.softmin", "aten.cumsum", "aten.cumprod", "aten.logcumsumexp", "aten.cummax", "aten.cummin",
      "aten._safe_softmax")  # fmt: skip
def along(inference: Inference, node: Node) -> list[Axes]:
    """Every entry depends on all entries of the axis."""
    inference.lock_axes(node["self"], node, "every entry depends on all others along it", _dims(node))
    return [inference.of(node["self"])] * len(node.outputs)


@rule("aten.renorm")
def renorm(inference: Inference, node: Node) -> list[Axes]:
    """Every place of one axis is brought to a largest norm over all the others."""
    x = node["self"]
    dims = [d for d in range(len(x.shape)) if d != node["dim"] % len(x.shape)]
    inference.lock_axes(x, node, "a norm over it", dims)
    return [inference.of(x)]


@rule("aten.topk", "aten.sort", "aten.argsort", "aten.kthvalue", "aten.msort")
def ordered(inference: Inference, node: Node) -> list[Axes]:
    """Entries compete along the axis."""
    x = node["self"]
    last = -1 if node.op != "aten.msort" else 0
    dim = (node.get("dim") if node.get("dim") is not None else last) % max(len(x.shape), 1)
    inference.lock_axes(x, node, "entries compete along it", [dim])
    result = []
    for value in node.outputs:
        axes = list(inference.of(x))
        if len(value.shape) == len(axes):
            axes[dim] = inference.fixed(node, [value.shape[dim]], "the winners of a competition")[0]
        else:
            del axes[dim]
        result.append(tuple(axes))
    return result
