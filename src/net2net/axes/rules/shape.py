"""Operations that rearrange axes: views, permutations, stretching."""

from __future__ import annotations

import math
from collections.abc import Sequence

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import UNIT, Atom, Lock, LockKind, Term, lock, product, unflatten
from net2net.capture import Node


def reshape_axes(axes: Axes, before: Sequence[int], after: Sequence[int], why: str) -> Axes:
    """The axes of a tensor of shape `before` seen in shape `after`: the finest blocks that line up are related."""
    if 0 in before:
        return tuple(UNIT if s == 1 else product([]) for s in after)
    if math.prod(before) != math.prod(after):
        return _around_unknown(axes, before, after)
    result: list[Term] = []
    i = j = 0
    while j < len(after) or i < len(before):
        ins, outs = [], []
        left = right = 1
        if i < len(before):
            ins.append(axes[i])
            left *= before[i]
            i += 1
        if j < len(after):
            outs.append(after[j])
            right *= after[j]
            j += 1
        while left != right:
            if left < right:
                ins.append(axes[i])
                left *= before[i]
                i += 1
            else:
                outs.append(after[j])
                right *= after[j]
                j += 1
        if outs:
            result.extend(unflatten(product(ins), outs, why))
    return tuple(result)


def _around_unknown(axes: Axes, before: Sequence[int], after: Sequence[int]) -> Axes:
    """The axes where a size that depends on values is split: the last ones that are alike stay, the others are fixed.

    A quotient of such a size has no number that the product of the shape would have.
    """
    alike = 0
    while alike < min(len(before), len(after)) and before[-1 - alike] == after[-1 - alike]:
        alike += 1
    reason = "it is split into parts whose number depends on values"
    for axis in axes[: len(axes) - alike]:
        lock(axis, reason)
    fixed = tuple(
        UNIT if size == 1 else Atom(size, Lock(LockKind.OPERATION, reason)) for size in after[: len(after) - alike]
    )
    return fixed + axes[len(axes) - alike :]


@rule(
    "aten.view", "aten.reshape", "aten.flatten", "aten.unflatten", "aten._unsafe_view", "aten.squeeze",
    "aten.unsqueeze", "aten._reshape_alias", "aten.ravel", "aten.view_copy", "aten.reshape_as", "aten.view_as",
    "aten.squeeze_copy", "aten.unsqueeze_copy", "aten.atleast_1d", "aten.atleast_2d", "aten.atleast_3d",
    flow=Flow.PASS,
)  # fmt: skip
def reshape(inference: Inference, node: Node) -> list[Axes]:
    """Row-major: a block of axes is flattened, or one axis is seen as several."""
    if len(node.outputs) > 1:  # of a list of tensors
        pairs = list(zip(node.inputs, node.outputs, strict=True))
    else:
        pairs = [(node.inputs[0], node.output)]
    result = [reshape_axes(inference.of(x), x.shape, out.shape, node.where) for x, out in pairs]
    if node.get("other") is not None:  # it lends its shape, and keeps it
        inference.broadcast(node, [result[0], inference.of(node["other"])])
    return result


@rule("aten.permute", "aten.permute_copy", flow=Flow.PASS)
def permute(inference: Inference, node: Node) -> list[Axes]:
    """Axes in another order."""
    axes = inference.of(node["self"])
    return [tuple(axes[d] for d in node["dims"])]


@rule("aten.transpose", "aten.swapaxes", "aten.swapdims", "aten.transpose_copy", flow=Flow.PASS)
def transpose(inference: Inference, node: Node) -> list[Axes]:
    """Two axes change places."""
    axes = list(inference.of(node["self"]))
    a, b = (d for name, d in node.arguments.items() if name != "self")
    axes[a], axes[b] = axes[b], axes[a]
    return [tuple(axes)]


@rule("aten.t", "aten.numpy_T", "aten.mT", "aten.mH", "aten.matrix_H", "aten.adjoint", "aten.t_copy", flow=Flow.PASS)
def t(inference: Inference, node: Node) -> list[Axes]:
    """The last two axes change places (all of them, for `.T`)."""
    axes = inference.of(node["self"])
    if node.op == "aten.numpy_T":
        return [axes[::-1]]
    return [(*axes[:-2], *axes[-2:][::-1])]


@rule("aten.movedim", "aten.moveaxis", flow=Flow.PASS)
def movedim(inference: Inference, node: Node) -> list[Axes]:
    """Some axes move to other places, the others keep their order."""
    axes = inference.of(node["self"])

    def listed(d: int | Sequence[int]) -> list[int]:
        return [x % len(axes) for x in ([d] if isinstance(d, int) else d)]

    source, target = listed(node["source"]), listed(node["destination"])
    rest = iter([d for d in range(len(axes)) if d not in source])
    order = [source[target.index(d)] if d in target else next(rest) for d in range(len(axes))]
    return [tuple(axes[d] for d in order)]


@rule("aten.expand", "aten.expand_as", "aten.broadcast_to", "aten.expand_copy", flow=Flow.PASS)
def expand(inference: Inference, node: Node) -> list[Axes]:
    """Axes of size 1 are stretched; all entries along a stretched axis are equal, so it may grow freely."""
    axes, x, out = inference.of(node["self"]), node["self"], node.output.shape
    if node.get("other") is not None:
        return [inference.broadcast(node, [axes, inference.of(node["other"])])]
    offset = len(out) - len(x.shape)
    for d, axis in enumerate(axes, start=offset):
        if x.shape[d - offset] != out[d]:
            lock(axis, f"it is stretched to {out[d]} places ({node.where})")
    return [
        tuple(
            axes[d - offset] if d >= offset and x.shape[d - offset] == s else inference.fresh(s)
            for d, s in enumerate(out)
        )
    ]


@rule("aten.broadcast_tensors", flow=Flow.PASS)
def broadcast_tensors(inference: Inference, node: Node) -> list[Axes]:
    """Every tensor is stretched to the shape of all."""
    axes = inference.broadcast(node, [inference.of(v) for v in node["tensors"]])
    return [axes] * len(node.outputs)


@rule("aten.repeat", "aten.tile", flow=Flow.PASS)
def repeat(inference: Inference, node: Node) -> list[Axes]:
    """The whole axis again and again: (repetition, axis)."""
    axes = inference.of(node["self"])
    repeats = node.get("repeats") or node.get("dims")
    axes = (*[UNIT] * (len(repeats) - len(axes)), *axes)
    repeats = (*[1] * (len(axes) - len(repeats)), *repeats)
    return [tuple(product([inference.fresh(r), a]) if r != 1 else a for r, a in zip(repeats, axes, strict=True))]


@rule("aten.repeat_interleave", flow=Flow.PASS)
def repeat_interleave(inference: Inference, node: Node) -> list[Axes]:
    """Each entry again and again: (axis, repetition)."""
    x, dim = node["self"], node.get("dim")
    axes = list(inference.of(x)) if dim is not None else [product(inference.of(x))]
    dim = 0 if dim is None else dim % len(axes)
    length = math.prod(x.shape) if node.get("dim") is None else x.shape[dim]
    count, rest = divmod(node.output.shape[dim], length)
    if not isinstance(node.get("repeats"), int) or rest:
        inference.lock_axes(x, node, "entries are repeated by different counts")
        return [inference.fixed(node, node.output.shape, "entries are repeated by different counts")]
    axes[dim] = product([axes[dim], inference.fresh(count)]) if count != 1 else axes[dim]
    return [tuple(axes)]
