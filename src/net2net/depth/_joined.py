"""Stacks whose blocks differ: kinds that alternate, or some of one kind before those of another."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from net2net.axes import Inference
from net2net.capture import shown
from net2net.depth._identity import identity_rule
from net2net.depth._regions import Regions, taps_of
from net2net.depth._stack import Stack
from net2net.pretrained import in_pretrained
from net2net.sites import NotPossible


def joined(regions: Regions, inference: Inference, model: nn.Module, stacks: Sequence[Stack]) -> list[Stack]:
    """The stacks of one list of modules; those that hand one stream on, and can be the identity, as one stack.

    That is so where a kind comes back after others, so that what repeats is a period of several blocks, and in models
    of transformers, whose config numbers all layers of an outermost list together. A list inside a layer has the
    layer's parts, and no number.
    """
    groups: list[list[Stack]] = []
    for stack in stacks:
        if groups and _goes_on(groups[-1][-1], stack):
            groups[-1].append(stack)
        else:
            groups.append([stack])
    result: list[Stack] = []
    for group in groups:
        if len(group) > 1 and _is_one(inference, model, group):
            alone = all(len(other) == len(other[0]) == 1 for other in groups if other is not group)
            result.append(_one(regions, inference, group, alone))
        else:
            result += group
    return result


def _goes_on(before: Stack, after: Stack) -> bool:
    same = before.blocks[-1].stream_out is after.blocks[0].stream_in
    return same and before.first + len(before) == after.first


def _is_one(inference: Inference, model: nn.Module, group: Sequence[Stack]) -> bool:
    kinds = [stack.kinds[0] for stack in group]
    comes_back, first = len(set(kinds)) < len(kinds), group[0]
    numbered = in_pretrained(model, first.blocks[0].path) and not _in_a_list(model, first.container)
    return (comes_back or numbered) and all(_can_be_silent(inference, stack) for stack in group)


def _in_a_list(model: nn.Module, path: str) -> bool:
    parts = path.split(".")
    around = (model.get_submodule(".".join(parts[:end])) for end in range(len(parts)))
    return any(isinstance(module, (nn.ModuleList, nn.Sequential)) for module in around)


def _can_be_silent(inference: Inference, stack: Stack) -> bool:
    try:
        return bool(identity_rule(inference, stack.blocks[0]).fills)
    except NotPossible:
        return False


def _one(regions: Regions, inference: Inference, group: Sequence[Stack], alone: bool) -> Stack:
    first = group[0]
    blocks = tuple(block for stack in group for block in stack.blocks)
    kinds = tuple(kind for stack in group for kind in stack.kinds)
    taps = taps_of(regions, blocks, set(inference.graph.outputs.values()))
    whole = alone or len(blocks) == len(first.children)
    name = shown(first.container if whole else blocks[0].path) or "."
    return Stack(name, first.container, first.children, first.first, blocks, kinds, taps, tuple(group))
