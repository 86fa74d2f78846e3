"""Operations on positions: rolling, flipping, padding, resampling, and the shuffles between space and channels."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import LockKind, Term, concat, lock, product, size, split, unflatten
from net2net.axes.rules._windows import consumed
from net2net.capture import Node


@rule("aten.roll", "aten.flip", "aten.fliplr", "aten.flipud", "aten.rot90", flow=Flow.PASS)
def roll(inference: Inference, node: Node) -> list[Axes]:
    """Places change their order, so the axis can't grow."""
    axes = inference.of(node["self"])
    dims = node.get("dims") or range(len(axes))
    for dim in dims:
        lock(axes[dim], f"its places change their order ({node.where})")
    if node.op == "aten.rot90":
        return [inference.fixed(node, node.output.shape, "its places change their order")]
    return [axes]


@rule("aten.pad", "aten.constant_pad_nd", "aten.reflection_pad1d", "aten.reflection_pad2d", "aten.reflection_pad3d",
      "aten.replication_pad1d", "aten.replication_pad2d", "aten.replication_pad3d", flow=Flow.PASS)  # fmt: skip
def pad(inference: Inference, node: Node) -> list[Axes]:
    """A constant before and after an axis; other modes copy places by number."""
    x, amounts = node["self"], node.get("pad", node.get("padding"))
    axes = list(inference.of(x))
    constant = node.op == "aten.constant_pad_nd" or node.get("mode") == "constant"
    for i in range(len(amounts) // 2):
        dim = len(axes) - 1 - i
        before, after = amounts[2 * i], amounts[2 * i + 1]
        if (before, after) == (0, 0):
            continue
        if not constant:
            lock(axes[dim], f"padding copies its places ({node.where})")
            axes[dim] = inference.fixed(node, [node.output.shape[dim]], "padding copies its places")[0]
            continue
        cut = [max(-before, 0), x.shape[dim] + min(before, 0) + min(after, 0), max(-after, 0)]
        middle = _part(axes[dim], cut, node)
        edges = [inference.fixed(node, [max(n, 0)], "constant padding")[0] for n in (before, after)]
        axes[dim] = concat([e for e in (edges[0], middle, edges[1]) if size(e)])
        if size(axes[dim]) != node.output.shape[dim]:
            raise AssertionError(node.where)
    return [tuple(axes)]


def _part(term: Term, cut: list[int], node: Node) -> Term:
    if cut[0] == cut[2] == 0:
        return term
    kept = [c for c in cut if c]
    return split(term, kept, node.where)[1 if cut[0] else 0]


_RESAMPLING = tuple(
    f"aten.{kind}"
    for kind in (
        "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d",
        "upsample_trilinear3d", "upsample_bicubic2d", "_upsample_nearest_exact1d", "_upsample_nearest_exact2d",
        "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
    )
)  # fmt: skip


@rule(*_RESAMPLING, flow=Flow.PASS)
def resample(inference: Inference, node: Node) -> list[Axes]:
    """Channels pass, positions are new."""
    x = node.inputs[0]
    return [(*inference.of(x)[:2], *consumed(inference, node, x, node.output.shape[2:], "it is resampled"))]


@rule("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d", flow=Flow.PASS)
def grid_sampler(inference: Inference, node: Node) -> list[Axes]:
    """Channels pass, positions are looked up: one for each place of the grid."""
    x, grid = node["input"], inference.of(node["grid"])
    consumed(inference, node, x, x.shape[2:], "its places are looked up by number")
    lock(grid[-1], f"its places are coordinates ({node.where})")
    (batch,) = inference.broadcast(node, [inference.of(x)[:1], grid[:1]])
    return [(batch, inference.of(x)[1], *grid[1:-1])]


@rule("aten.pixel_shuffle", flow=Flow.PASS)
def pixel_shuffle(inference: Inference, node: Node) -> list[Axes]:
    """Channels are (channel, row, column): whole channels may grow."""
    axes, factor = inference.of(node["self"]), node["upscale_factor"]
    channels, row, column = unflatten(axes[-3], [node.output.shape[-3], factor, factor], node.where)
    lock(product([row, column]), f"its places become positions ({node.where})")
    return [(*axes[:-3], channels, *consumed(inference, node, node["self"], node.output.shape[-2:], "a spatial axis"))]


@rule("aten.pixel_unshuffle", flow=Flow.PASS)
def pixel_unshuffle(inference: Inference, node: Node) -> list[Axes]:
    """Positions become channels, laid out as (channel, row, column)."""
    axes, factor = inference.of(node["self"]), node["downscale_factor"]
    block = inference.fixed(node, [factor, factor], "positions that become channels")
    spatial = consumed(inference, node, node["self"], node.output.shape[-2:], "a spatial axis")
    return [(*axes[:-3], product([axes[-3], *block]), *spatial)]


@rule("aten.channel_shuffle", "aten.native_channel_shuffle", flow=Flow.PASS)
def channel_shuffle(inference: Inference, node: Node) -> list[Axes]:
    """(groups, channels) becomes (channels, groups). More channels per group keep the number of groups as it is."""
    axes, groups = inference.of(node["self"]), node["groups"]
    outer, inner = unflatten(axes[1], [groups, size(axes[1]) // groups], node.where)
    lock(outer, f"it is the number of groups ({node.where})")
    return [(axes[0], product([inner, outer]), *axes[2:])]


@rule("aten.im2col", flow=Flow.PASS)
def im2col(inference: Inference, node: Node) -> list[Axes]:
    """Windows become channels, laid out as (channel, position in the window)."""
    axes, x = inference.of(node["self"]), node["self"]
    window = node.output.shape[-2] // x.shape[-3]
    (inside,) = inference.fixed(node, [window], "positions in a window")
    consumed(inference, node, x, x.shape[-2:])
    return [(*axes[:-3], product([axes[-3], inside]), *inference.fixed(node, node.output.shape[-1:], "windows"))]


@rule("aten.col2im", flow=Flow.PASS)
def col2im(inference: Inference, node: Node) -> list[Axes]:
    """The reverse of im2col."""
    axes, x = inference.of(node["self"]), node["self"]
    channels = node.output.shape[-3]
    outer, inner = unflatten(axes[-2], [channels, x.shape[-2] // channels], node.where)
    lock(inner, f"positions in a window ({node.where})")
    lock(axes[-1], f"its places are windows ({node.where})")
    return [(*axes[:-2], outer, *inference.fixed(node, node.output.shape[-2:], "a spatial axis"))]


@rule("aten.unfold", flow=Flow.PASS)
def unfold(inference: Inference, node: Node) -> list[Axes]:
    """Windows along one axis, as a new last axis."""
    axes = list(inference.of(node["self"]))
    dim = node["dimension"] % len(axes)
    lock(axes[dim], f"its places are picked by number ({node.where})", LockKind.PARTS)
    windows, inside = inference.fixed(node, [node.output.shape[dim], node.output.shape[-1]], "windows")
    axes[dim] = windows
    return [(*axes, inside)]
