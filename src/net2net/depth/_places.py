"""Where a network can be made deeper, and how, as data to print."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from net2net.axes import Inference
from net2net.depth._edits import block_edit
from net2net.depth._identity import identity_rule
from net2net.depth._layers import find_layers
from net2net.depth._order import order
from net2net.depth._stacks import find_stacks
from net2net.errors import FixedDimensionError
from net2net.pretrained import in_pretrained
from net2net.sites import NotPossible


@dataclass(frozen=True)
class DepthPlace:
    """A stack of blocks, or a layer that identity layers can follow.

    `count` is the number of blocks (1 for a layer); `growth` is "exact", or "copies" (blocks can be copied, which does
    not keep the function), or "fixed"; `reason` says how it is exact, or why not.
    """

    name: str
    kind: Literal["blocks", "layer"]
    count: int
    growth: Literal["exact", "copies", "fixed"]
    reason: str


def find_places(inference: Inference, model: nn.Module) -> dict[str, DepthPlace]:
    """Every place, by its name: stacks first."""
    found: dict[str, DepthPlace] = {}
    for stack in find_stacks(inference, model):
        try:
            rule = identity_rule(inference, stack.blocks[-1], stack.blocks[-1].stream_out)
            fixed_eps = in_pretrained(model, stack.blocks[0].path)
            block_edit(inference, stack, order(len(stack), 1, "identity", "append", stack.name), "identity", fixed_eps)
            how = f"zero in a new block: {', '.join(rule.fills)}" + ("; its norms are chained" if rule.norms else "")
            found[stack.name] = DepthPlace(stack.name, "blocks", len(stack), "exact", how)
        except (NotPossible, FixedDimensionError) as reason:
            found[stack.name] = DepthPlace(stack.name, "blocks", len(stack), "copies", str(reason))
    for place in find_layers(inference, model):
        if in_pretrained(model, place.path):  # its class cannot express a further layer
            continue
        if place.kind is None:
            found[place.name] = DepthPlace(place.name, "layer", 1, "fixed", place.reason)
        else:
            activation = type(place.activation).__name__
            how = {
                "identity": f"identity, {activation} twice is {activation}",
                "mirror": f"mirrored pairs, the odd part of {activation} is linear",
                "maxout": f"every piece repeats its unit, {place.pieces} pieces",
            }[place.kind]
            found.setdefault(place.name, DepthPlace(place.name, "layer", 1, "exact", how))
    return found
