"""A deeper checkpoint: which layer of the student is, or copies, which layer of the teacher."""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from net2net.analysis import Analysis
from net2net.depth import BlockEdit, Change, DepthOptions, Order, Stack, block_edit, find_stacks, orders
from net2net.errors import CheckpointError, NeedsMemory, OptionError
from net2net.huggingface._folder import Folder
from net2net.huggingface._layers import Layers, lists_of_layers
from net2net.plan import Plan
from net2net.pretrained import at_the_end, bare_model, moved_places, numbers, set_key, with_longer_lists


class KindError(OptionError):
    """A layer would be of another kind at its new place."""


@dataclass(frozen=True)
class GrownList:
    """A list of layers and what becomes of it; no edit where it stays as it is."""

    layers: Layers
    edit: BlockEdit | None = None

    @cached_property
    def order(self) -> Order:
        """For every layer of the student's list, the layer of the teacher's that it is or copies, and whether it is
        new."""
        if self.edit is None:
            return tuple((index, False) for index in range(len(self.layers)))
        first = self.edit.stack.first
        return (*((i, False) for i in range(first)), *((first + source, new) for source, new in self.edit.order))

    def origin(self, name: str) -> Origin:
        """Where a tensor of one of the student's layers comes from."""
        path = self.layers.path
        index, _, rest = name.removeprefix(f"{path}.").partition(".")
        source, new = self.order[int(index)]
        template = self.layers.template(source, int(index) == len(self.order) - 1)
        change = None if self.edit is None else self.edit.changes.get((int(index) - self.edit.stack.first, rest))
        return Origin(f"{path}.{source}.{rest}", f"{path}.{template}.{rest}", change, new)


@dataclass(frozen=True)
class Origin:
    """Of a tensor of the student: the teacher's tensor that it comes from, that of the small model whose plan it has,
    what depth changes in it, and whether its layer is new."""

    source: str
    template: str
    change: Change | None = None
    new: bool = False


def origin(name: str, lists: Sequence[GrownList]) -> Origin:
    """Where a tensor of the student comes from."""
    inside = (grown for grown in lists if name.startswith(f"{grown.layers.path}."))
    return next((grown.origin(name) for grown in inside), Origin(name, name))


def check_used(depth: DepthOptions, plan: Plan) -> None:
    """Refuse words about new layers where there are none."""
    if (depth.init, depth.positions) != ("identity", None) and not any(step.deepenings for step in plan.steps):
        raise OptionError(
            f"init={depth.init!r}, positions={depth.positions!r}: no layers are asked for. Ask for more of them, or "
            "leave init and positions out."
        )


def depth_edits(
    folder: Folder,
    small: nn.Module,
    analysis: Analysis,
    lists: list[Layers],
    config: Any,
    depth: DepthOptions,
) -> tuple[list[GrownList], Any]:
    """What becomes of the lists of layers, and the config with its per-layer lists in the new order."""
    model_class: Any = folder.model_class
    deeper = bare_model(model_class, with_longer_lists(model_class, folder.config, config, at_the_end))
    stacks = {s.container: s for s in find_stacks(analysis.sites.inference, small)}
    ways: list[tuple[GrownList, ...]] = []
    for layers in lists:
        new = len(list(deeper.get_submodule(layers.path).children())) - len(layers)
        found = _ways(analysis, layers, stacks.get(layers.path), new, depth) if new > 0 else [GrownList(layers)]
        ways.append(tuple(found))
    if depth.init in ("random", "zero-random") and any(way[0].edit for way in ways):
        raise NeedsMemory("fresh layers are drawn as their class does, which needs the model in memory.")
    first: tuple[list[GrownList], Any] | None = None
    for k in range(max(map(len, ways), default=1)):
        grown = [way[min(k, len(way) - 1)] for way in ways]
        for longer in _configs(folder, config, grown):
            first = first or (grown, longer)
            with contextlib.suppress(CheckpointError):
                if all(_odd_kind(one, bare_model(model_class, longer)) is None for one in grown):
                    return grown, longer
    assert first is not None
    return first  # which `check_kinds` refuses with the reason


def _ways(
    analysis: Analysis, layers: Layers, stack: Stack | None, new: int, depth: DepthOptions
) -> Iterator[GrownList]:
    """The orders that a list with so many new layers may have, the best first."""
    if stack is None or stack.first + len(stack) < min(layers.needed, len(layers)):
        raise NeedsMemory(f"'{layers.path}' is not a plain stack of blocks.")
    start, names = stack.first, tuple(map(str, range(len(layers))))
    templates = [layers.kinds.index(kind) - start for kind in layers.kinds[start:]]
    blocks, kinds = tuple(stack.blocks[k] for k in templates), tuple(stack.kinds[k] for k in templates)
    whole = Stack(layers.path, layers.path, names, start, blocks, kinds)
    for found in orders(whole, new, depth.init, depth.positions):
        yield GrownList(layers, block_edit(analysis.sites.inference, whole, found, depth.init, fixed_eps=True))


def _configs(folder: Folder, config: Any, grown: list[GrownList]) -> Iterator[Any]:
    """The config with an entry for every layer in its lists, and with what its words for layers by their number may
    become; words that the request names stay."""

    def chosen(count: int, more: int) -> list[int]:
        fitting = ([source for source, _ in g.order] for g in grown if g.edit and len(g.layers) == count)
        return next((found for found in fitting if len(found) == count + more), at_the_end(count, more))

    longer = with_longer_lists(folder.model_class, folder.config, config, chosen)
    asked, own = dict(numbers(config)), dict(numbers(folder.config))
    edited = [g for g in grown if g.edit]
    words = (moved_places(folder.config, len(g.layers), [source for source, _ in g.order]) for g in edited)
    for some in itertools.product(*words):
        changes = {key: new for one in some for key, new in one.items() if asked.get(key) == own.get(key)}
        found = copy.deepcopy(longer)
        for key, new in changes.items():
            set_key(found, key, new)
        yield found


def check_kinds(teacher: nn.Module, student: nn.Module, lists: list[GrownList]) -> None:
    """The teacher's layers must stay what they are: a class may make a layer what it is by its place."""
    for grown in lists:
        odd = _odd_kind(grown, student)
        if odd is not None:
            raise KindError(
                f"{type(teacher).__name__} makes layer {odd} of '{grown.layers.path}' another kind of layer than layer "
                f"{grown.order[odd][0]} of the teacher. positions='append' leaves every layer where it is."
            )


def _odd_kind(grown: GrownList, student: nn.Module) -> int | None:
    """The first layer that its class makes another kind than the layer of the teacher that it is, or copies.

    A new one adds nothing, so it has to have the same tensors, no more. What a class sets by the place of a layer has
    to be what it was.
    """
    layers = grown.layers
    other = next((found for found in lists_of_layers(student) if found.path == layers.path), None)
    if grown.edit is None or other is None:
        return None
    seen: dict[int, int] = {}
    placed = layers.placed | other.placed
    for index, (source, new) in enumerate(grown.order):
        if new and layers.tensors[source] != other.tensors[index]:
            return index
        if not new and seen.setdefault(layers.kinds[source], other.kinds[index]) != other.kinds[index]:
            return index
        if not new and any(layers.settings[source].get(name) != other.settings[index].get(name) for name in placed):
            return index
    return None
