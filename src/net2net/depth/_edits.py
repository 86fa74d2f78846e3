"""Depth: which blocks and layers the student has, and what their tensors start as."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from net2net.axes import Inference, stored_gain
from net2net.capture import Node
from net2net.depth._identity import identity_rule
from net2net.depth._layers import LayerPlace
from net2net.depth._order import Order, promise
from net2net.depth._stack import Stack
from net2net.errors import FixedDimensionError
from net2net.plan import Deepening, Fill, TensorPlan
from net2net.sites import NotPossible

# A norm's eps below this is lost in rounding: normalising twice is then normalising once.
_NO_EPS = 1e-11


@dataclass(frozen=True, eq=False)
class Change:
    """What a tensor of a block starts as, if not as a copy: `TensorPlan`'s fields."""

    fill: Fill = "source"
    number: float = 0.0
    scale: float = 1.0

    def of(self, plan: TensorPlan) -> TensorPlan:
        """The plan of a block's tensor with this change."""
        if self.fill == "values":
            return replace(plan, fill="values", values=np.full((1,), self.number))
        return replace(plan, fill="source", values=None, scale=plan.scale * self.scale)


@dataclass(frozen=True, eq=False)
class BlockEdit:
    """A stack with more blocks. `changes` and `attributes` are by the block's index in the student and a name
    relative to the block."""

    stack: Stack
    init: str
    order: Order
    changes: dict[tuple[int, str], Change] = field(default_factory=dict)
    attributes: dict[tuple[int, str], dict[str, float]] = field(default_factory=dict)

    @property
    def deepening(self) -> Deepening:
        """The edit as data."""
        sources, new = zip(*self.order, strict=True)
        return Deepening(self.stack.name, "blocks", self.init, sources, new, preserves=promise(self.init))


@dataclass(frozen=True, eq=False)
class LayerEdit:
    """Identity layers after a layer, one for each kernel (`None`: linear), with the mean and the variance of what
    reaches each of them where they get a BatchNorm."""

    place: LayerPlace
    kernels: tuple[tuple[int, ...] | None, ...]
    mean: np.ndarray | None = None
    variance: np.ndarray | None = None

    @property
    def deepening(self) -> Deepening:
        """The edit as data."""
        count = len(self.kernels)
        new = (False, *(True,) * count)
        return Deepening(self.place.name, "layers", "identity", (0,) * (count + 1), new, self.kernels)


def block_edit(
    inference: Inference, stack: Stack, order: Order, init: str, fixed_eps: bool, *, taps_move: bool = False
) -> BlockEdit:
    """The edit that gives a stack this order of blocks, new ones made as `init` says.

    Args:
        fixed_eps: a norm can't have an eps of its own (the config of a Hugging Face model has one for all).
        taps_move: the forward of the student reads between the same blocks as that of the teacher.

    Raises:
        FixedDimensionError: new blocks can't be the identity.
    """
    edit = BlockEdit(stack, init, order)
    if init in ("stack", "interleave", "middle", "overlap", "random"):
        return edit
    if stack.taps and not taps_move:
        index, reader = next(iter(stack.taps.items()))
        raise FixedDimensionError(
            f"'{stack.name}' can't get new blocks that keep the function: what '{stack.blocks[index].path}' gives is "
            f"read by {reader} too, and a further block would shift which block that is. Build the bigger model "
            "yourself and use net2net.transfer."
        )
    norms: dict[int, list[Node]] = {}
    stream = stack.blocks[0].stream_in
    for index, (source, new) in enumerate(order):
        if not new:
            stream = stack.blocks[source].stream_out
            continue
        try:
            rule = identity_rule(inference, stack.blocks[source], stream)
        except NotPossible as reason:
            raise FixedDimensionError(
                f"'{stack.name}' can't get new blocks that keep the function: {reason}. "
                "init='stack' copies blocks without keeping it."
            ) from None
        norms[source] = rule.norms
        edit.changes.update({(index, name): Change("values", number) for name, number in rule.fills.items()})
    if any(norms.values()):
        _post_norm(edit, norms, fixed_eps)
    return edit


def _post_norm(edit: BlockEdit, norms: Mapping[int, list[Node]], fixed_eps: bool) -> None:
    """Blocks that end in a norm of the stream: a chain of norms that together are the one that was there.

    The teacher's norm loses its gain and shift to the last norm of the new blocks. Normalising what is normalised
    already changes nothing but for eps; with eps = 1 in a further norm, and the gain times the root of 2, the first eps
    counts half, so it is doubled for each.
    """
    index = 0
    while index < len(edit.order):
        source, new = edit.order[index]
        if new:
            raise FixedDimensionError(f"'{edit.stack.name}' normalises its stream: no block can go before its first.")
        following = 0
        while index + following + 1 < len(edit.order) and edit.order[index + following + 1][1]:
            following += 1
        if following:
            path = edit.stack.blocks[source].path
            chain = [(index, norms[source][-1])]
            chain += [(index + k, norm) for k in range(1, following + 1) for norm in norms[source]]
            _spread_norm(edit, path, chain, fixed_eps)
        index += following + 1


def _spread_norm(edit: BlockEdit, path: str, chain: list[tuple[int, Node]], fixed_eps: bool) -> None:
    first, last = chain[0][1], chain[-1][1]
    eps = _eps(first)
    if any(_eps(n) != eps or n.op != first.op for _, n in chain):
        raise FixedDimensionError(f"'{edit.stack.name}': the norms of its stream are not alike ({first.where}).")
    keep_eps = eps <= _NO_EPS
    if fixed_eps and not keep_eps:
        raise FixedDimensionError(
            f"'{edit.stack.name}' normalises its stream ({first.where}) with an eps of {eps:g}: new blocks would need "
            "an eps of their own, which its config can't express. init='stack' copies blocks, not exactly."
        )
    for place, (index, node) in enumerate(chain):
        gain = _stored(node, "weight", path)
        shift = _stored(node, "bias", path) if node.get("bias") is not None else None
        scale = 1.0 if keep_eps or place == 0 else math.sqrt(2)
        if node is last and place == len(chain) - 1:
            edit.changes[index, gain] = Change(scale=scale)
            if shift is not None:
                edit.changes[index, shift] = Change()
        else:
            edit.changes[index, gain] = Change("values", scale)
            if shift is not None:
                edit.changes[index, shift] = Change("values", 0.0)
        if not keep_eps:
            module = node.module.removeprefix(path).strip(".")
            edit.attributes[index, module] = {"eps": eps * 2.0 ** (len(chain) - 1) if place == 0 else 1.0}


def _eps(norm: Node) -> float:
    """What a norm adds to the variance; torch's RMSNorm takes the dtype's own where none is given."""
    eps = norm.get("eps")
    return torch.finfo(norm.output.dtype).eps if eps is None else float(eps)


def _stored(node: Node, name: str, path: str) -> str:
    value = node.get(name)
    stored = stored_gain(value) if value is not None else None
    if stored is None or stored[1] != 0.0 or not stored[0].name.startswith(path + "."):
        raise FixedDimensionError(f"{node.where} normalises the stream and has no gain of its own.")
    return stored[0].name.removeprefix(path + ".")
