"""A deeper checkpoint: which layer of the student is, or copies, which layer of the teacher."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from net2net.analysis import Analysis
from net2net.depth import BlockEdit, Positions, Stack, block_edit, find_stacks, order
from net2net.errors import CheckpointError, OptionError
from net2net.huggingface._folder import ABOUT_LAYERS, Folder, bare_model
from net2net.huggingface._layers import Layers, lists_of_layers
from net2net.plan import Plan
from net2net.pretrained import numbers, sequences, set_key

# Names of lists with an entry for each layer; and of all that could be one.
_PER_LAYER = re.compile("layer|type|pattern|block")
_ANY = re.compile("^(?!.*_ids?$)")


class NeedsMemory(CheckpointError):
    """The checkpoint can't be streamed; it can be grown in memory."""


class KindError(OptionError):
    """A layer would be of another kind at its new place."""


@dataclass(frozen=True)
class DepthRequest:
    """How new layers are made and where they go."""

    init: str = "identity"
    positions: Positions | None = None


def check_used(depth: DepthRequest, plan: Plan) -> None:
    """Refuse words about new layers where there are none."""
    if depth != DepthRequest() and not any(step.deepenings for step in plan.steps):
        raise OptionError(f"{depth}: no layers are asked for. Ask for more of them, or leave init and positions out.")


def depth_edits(
    folder: Folder,
    small: nn.Module,
    analysis: Analysis,
    lists: list[Layers],
    config: Any,
    depth: DepthRequest,
) -> tuple[dict[str, BlockEdit], Any]:
    """The stacks that get deeper, by their lists, and the config with its per-layer lists in the new order."""
    model_class, before = folder.model_class, folder.config
    counts = _lengths(bare_model(model_class, with_longer_lists(model_class, before, config, at_the_end)), lists)
    stacks = {s.container: s for s in find_stacks(analysis.sites.inference, small)}
    edits: dict[str, BlockEdit] = {}
    for layers in lists:
        new = counts[layers.path] - len(layers)
        if new <= 0:
            continue
        stack = stacks.get(layers.path)
        if stack is None or stack.first + len(stack) < min(layers.needed, len(layers)):
            raise NeedsMemory(f"'{layers.path}' is no plain stack of blocks.")
        several = len(set(layers.kinds)) > 1
        positions = depth.positions or ("append" if several and not _has_lists(folder.config, layers) else "spread")
        start, names = stack.first, tuple(map(str, range(len(layers))))
        found = order(len(layers) - start, new, depth.init, positions, layers.path)
        blocks = tuple(stack.blocks[layers.kinds.index(kind) - start] for kind in layers.kinds[start:])
        whole = Stack(layers.path, layers.path, names, start, blocks)
        edit = block_edit(analysis.sites.inference, whole, found, depth.init, fixed_eps=True)
        if edit.init in ("random", "zero-random"):
            raise NeedsMemory("fresh layers are drawn as their class does, which needs the model in memory.")
        edits[layers.path] = edit

    def chosen(count: int, more: int) -> list[int]:
        fitting = (sources(e) for e in edits.values() if len(e.stack.children) == count)
        return next((found for found in fitting if len(found) == count + more), at_the_end(count, more))

    return edits, with_longer_lists(model_class, before, config, chosen)


def _has_lists(config: Any, layers: Layers) -> bool:
    return any(len(items) == len(layers) for _, items in sequences(config))


def with_longer_lists(
    model_class: type[nn.Module], before: Any, after: Any, chosen: Callable[[int, int], list[int]]
) -> Any:
    """The config `after` with an entry for every layer in its per-layer lists.

    Args:
        model_class: that it is for.
        before: the teacher's config.
        after: the config with the new numbers of layers.
        chosen: says for a number of layers and of further ones whose entry each has.

    Raises:
        CheckpointError: the class refuses it.
    """
    new = dict(numbers(after))
    grown = [(key[:-1], count, int(new.get(key, count) - count)) for key, count in numbers(before) if _is_depth(key)]
    refusal: CheckpointError | None = None
    for names in (_PER_LAYER, _ANY):  # other lists may have the length by chance
        result = copy.deepcopy(after)
        for scope, count, more in grown:
            for key, items in sequences(after):
                if more > 0 and key[:-1] == scope and len(items) == count and names.search(str(key[-1])):
                    set_key(result, key, [items[source] for source in chosen(int(count), more)])
        try:
            bare_model(model_class, result)
            return result
        except CheckpointError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def at_the_end(count: int, more: int) -> list[int]:
    """For each of `count` entries and `more` further ones, the entry that it is like: the last one."""
    return [*range(count), *[count - 1] * more]


def _is_depth(key: tuple[Any, ...]) -> bool:
    return ABOUT_LAYERS.search(str(key[-1])) is not None


def sources(edit: BlockEdit) -> list[int]:
    """For every layer of the student's list, the layer of the teacher's that it is or copies."""
    first = edit.stack.first
    return [*range(first), *(first + source for source, _ in edit.order)]


def _lengths(model: nn.Module, lists: list[Layers]) -> dict[str, int]:
    return {layers.path: len(model.get_submodule(layers.path)) for layers in lists}  # type: ignore[arg-type]


def check_kinds(teacher: nn.Module, student: nn.Module, lists: list[Layers], edits: Mapping[str, BlockEdit]) -> None:
    """The teacher's layers must stay what they are: a class may make a layer what it is by its place."""
    theirs = {layers.path: layers for layers in lists_of_layers(student)}
    for layers in lists:
        edit, other = edits.get(layers.path), theirs.get(layers.path)
        if edit is None or other is None:
            continue
        seen: dict[int, int] = {}
        first = edit.stack.first
        for index, source in enumerate(sources(edit)):
            if index >= first and edit.order[index - first][1]:
                continue  # a new block adds nothing, whatever its kind
            if seen.setdefault(layers.kinds[source], other.kinds[index]) != other.kinds[index]:
                raise KindError(
                    f"{type(teacher).__name__} makes layer {index} of '{layers.path}' another kind of layer than layer "
                    f"{source} of the teacher. positions='append' leaves every layer where it is."
                )
