"""Operations that lay axes end to end, or take parts of them."""

from __future__ import annotations

from collections.abc import Sequence

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import UNIT, Lock, LockKind, Term, concat, lock, size, split, unflatten, unify
from net2net.capture import Node

_FIXED_DIMS = {"aten.vstack": 0, "aten.hstack": 1, "aten.column_stack": 1, "aten.dstack": 2}


@rule("aten.cat", "aten.concat", "aten.concatenate", *_FIXED_DIMS, flow=Flow.PASS)
def cat(inference: Inference, node: Node) -> list[Axes]:
    """One axis is the concatenation, the others are shared."""
    if any(len(v.shape) < len(node.output.shape) and v.shape != (0,) for v in node["tensors"]):
        for value in node["tensors"]:
            inference.lock_axes(value, node, "tensors with too few axes are joined")
        return [inference.fixed(node, node.output.shape, "tensors with too few axes are joined")]
    values = [v for v in node["tensors"] if len(v.shape) == len(node.output.shape)]
    dim = _FIXED_DIMS.get(node.op, node.get("dim", 0)) % len(node.output.shape)
    parts = [inference.of(v)[dim] for v in values]
    others = [(*axes[:dim], *axes[dim + 1 :]) for axes in map(inference.of, values)]
    shared = inference.broadcast(node, others)
    return [(*shared[:dim], concat(parts), *shared[dim:])]


@rule("aten.stack", flow=Flow.PASS)
def stack(inference: Inference, node: Node) -> list[Axes]:
    """A new axis, whose places are the tensors of the list."""
    shared = inference.broadcast(node, [inference.of(v) for v in node["tensors"]])
    dim = node["dim"] % len(node.output.shape)
    new = inference.fixed(node, [len(node["tensors"])], "its places are the tensors of a list", LockKind.PARTS)
    return [(*shared[:dim], *new, *shared[dim:])]


def _parts(inference: Inference, node: Node, sizes: Sequence[int], equal: bool) -> list[Axes]:
    axes = inference.of(node["self"])
    dim = node["dim"] % len(axes)
    if sum(sizes) != size(axes[dim]):  # how long a part is depends on values
        lock(axes[dim], f"it is cut at places that depend on values ({node.where})")
        return [(*axes[:dim], inference.fresh(length), *axes[dim + 1 :]) for length in sizes]
    parts: list[Term] = split(axes[dim], sizes, node.where) if len(sizes) > 1 else [axes[dim]]
    if equal:  # one number gives the sizes of all parts, so they must stay equal
        for part, length in zip(parts[1:], sizes[1:], strict=True):
            if length == sizes[0]:
                unify(parts[0], part, node.where)
    return [(*axes[:dim], part, *axes[dim + 1 :]) for part in parts]


@rule(
    "aten.split",
    "aten.chunk",
    "aten.split_with_sizes",
    "aten.tensor_split",
    "aten.unsafe_chunk",
    "aten.unsafe_split",
    "aten.split_with_sizes_copy",
    flow=Flow.PASS,
)
def split_(inference: Inference, node: Node) -> list[Axes]:
    """An axis taken apart, by one size or by a list of sizes."""
    dim = node["dim"] % len(node["self"].shape)
    sizes = [v.shape[dim] for v in node.outputs]
    listed = isinstance(node.get("split_size", node.get("split_sizes")), (list, tuple))
    return _parts(inference, node, sizes, equal=not listed)


@rule("aten.unbind", "aten.unbind_copy", flow=Flow.PASS)
def unbind(inference: Inference, node: Node) -> list[Axes]:
    """Every place of an axis becomes a tensor of its own."""
    axes = inference.of(node["self"])
    dim = node["dim"] % len(axes)
    lock(axes[dim], f"its places are picked one by one ({node.where})", LockKind.PARTS)
    return [(*axes[:dim], *axes[dim + 1 :])] * len(node.outputs)


@rule("aten.select", flow=Flow.PASS)
def select(inference: Inference, node: Node) -> list[Axes]:
    """One place of an axis."""
    axes = inference.of(node["self"])
    dim = node["dim"] % len(axes)
    if not inference.gives_its_shape(node):
        index = node["index"]
        stretch = f"{index}:" if index == -1 else f"{index}:{index + 1}"
        reason = f"place {index} of it is picked by number, which leaves no axis; {stretch} would leave the others free"
        lock(axes[dim], f"{reason} ({node.where})", LockKind.PARTS)
    return [(*axes[:dim], *axes[dim + 1 :])]


@rule("aten.slice", "aten.narrow", "aten.narrow_copy", flow=Flow.PASS)
def slice_(inference: Inference, node: Node) -> list[Axes]:
    """A stretch of an axis; with a step, one of each run of places, or places picked by number."""
    x, out = node["self"], node.output
    axes = list(inference.of(x))
    dim = node["dim"] % len(axes)
    length, step = x.shape[dim], node.get("step", 1)
    start = node.get("start") or 0
    start = max(start + length, 0) if start < 0 else min(start, length)
    if out.shape[dim] == length:
        return [tuple(axes)]
    if out.shape[dim] == 1 and inference.gives_its_shape(node):
        return [(*axes[:dim], UNIT, *axes[dim + 1 :])]
    if step != 1:
        if length == step * out.shape[dim] and start < step:  # (run, place in it)
            axes[dim], inside = unflatten(axes[dim], [out.shape[dim], step], node.where)
            lock(inside, f"its places are picked in steps ({node.where})", LockKind.PARTS)
            return [tuple(axes)]
        lock(axes[dim], f"its places are picked in steps ({node.where})", LockKind.PARTS)
        axes[dim] = inference.fixed(node, [out.shape[dim]], "places picked in steps", LockKind.PARTS)[0]
        return [tuple(axes)]
    sizes = [start, out.shape[dim], length - start - out.shape[dim]]
    kept = [s > 0 for s in sizes]
    parts = iter(split(axes[dim], [s for s in sizes if s > 0], node.where))
    axes[dim] = [next(parts) if k else None for k in kept][1] or inference.fresh(
        0, Lock(LockKind.OPERATION, "an empty slice")
    )
    return [tuple(axes)]
