"""A deeper checkpoint: which layer of the student is, or copies, which layer of the teacher."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from net2net.build._config import numbers, sequences, set_key
from net2net.depth import BlockEdit, Positions, Stack, block_edit, find_stacks, order
from net2net.dimensions import Analysis
from net2net.errors import CheckpointError, OptionError
from net2net.huggingface._folder import Folder, bare_model
from net2net.huggingface._layers import Layers, lists_of_layers


class NeedsMemory(CheckpointError):
    """The checkpoint can't be streamed; it can be grown in memory."""


class KindError(OptionError):
    """A layer would be of another kind at its new place."""


@dataclass(frozen=True)
class DepthRequest:
    """How new layers are made and where they go."""

    init: str = "identity"
    positions: Positions | None = None


def depth_edits(
    folder: Folder,
    teacher: nn.Module,
    small: nn.Module,
    analysis: Analysis,
    lists: list[Layers],
    config: Any,
    depth: DepthRequest,
) -> tuple[dict[str, BlockEdit], Any]:
    """The stacks that get deeper, by their lists, and the config with its per-layer lists in the new order."""
    try:
        first = bare_model(folder.model_class, _with_lists(config, folder.config, {}))
    except CheckpointError:
        first = None
    counts = _new_counts(teacher, folder.config, config, lists) if first is None else _lengths(first, lists)
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
    return edits, _with_lists(config, folder.config, edits)


def _has_lists(config: Any, layers: Layers) -> bool:
    return any(len(items) == len(layers) for _, items in sequences(config))


def _with_lists(config: Any, before: Any, edits: Mapping[str, BlockEdit]) -> Any:
    """The config with lists that have an entry for each layer put in the order of the new layers."""
    result = copy.deepcopy(config)
    for edit in edits.values():
        for key, items in sequences(before):
            if len(items) == len(edit.stack.children):
                set_key(result, key, [items[source] for source in sources(edit)])
    return result


def with_longer_lists(model: nn.Module, before: Any, after: Any, depth: DepthRequest) -> Any:
    """The config `after` with an entry in its per-layer lists for every layer: a new one has its neighbour's."""
    result = copy.deepcopy(after)
    lists = lists_of_layers(model)
    counts = _new_counts(model, before, after, lists)
    for layers in lists:
        new = counts[layers.path] - len(layers)
        if new > 0:
            found = order(len(layers), new, depth.init, depth.positions or "spread", layers.path)
            for key, items in sequences(before):
                if len(items) == len(layers):
                    set_key(result, key, [items[source] for source, _ in found])
    return result


def sources(edit: BlockEdit) -> list[int]:
    """For every layer of the student's list, the layer of the teacher's that it is or copies."""
    first = edit.stack.first
    return [*range(first), *(first + source for source, _ in edit.order)]


def _lengths(model: nn.Module, lists: list[Layers]) -> dict[str, int]:
    return {layers.path: len(model.get_submodule(layers.path)) for layers in lists}  # type: ignore[arg-type]


def _new_counts(teacher: nn.Module, before: Any, after: Any, lists: list[Layers]) -> dict[str, int]:
    """How long the lists of layers will be, where a config with per-layer lists isn't valid before these are."""
    new = dict(numbers(after))
    changed = {number: new[key] for key, number in numbers(before) if new.get(key, number) != number}
    return {layers.path: int(changed.get(len(layers), len(layers))) for layers in lists}


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
