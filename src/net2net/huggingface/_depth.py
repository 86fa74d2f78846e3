"""A deeper checkpoint: which layer of the student is, or copies, which layer of the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import nn

from net2net.analysis import Analysis
from net2net.depth import BlockEdit, Change, DepthOptions, Order, Stack, block_edit, find_stacks, order
from net2net.errors import NeedsMemory, OptionError
from net2net.huggingface._folder import Folder
from net2net.huggingface._layers import Layers, lists_of_layers
from net2net.plan import Plan
from net2net.pretrained import at_the_end, bare_model, per_layer, with_longer_lists


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
    model_class, before = folder.model_class, folder.config
    deeper = bare_model(model_class, with_longer_lists(model_class, before, config, at_the_end))
    stacks = {s.container: s for s in find_stacks(analysis.sites.inference, small)}
    grown: list[GrownList] = []
    for layers in lists:
        new = len(list(deeper.get_submodule(layers.path).children())) - len(layers)
        if new <= 0:
            grown.append(GrownList(layers))
            continue
        stack = stacks.get(layers.path)
        if stack is None or stack.first + len(stack) < min(layers.needed, len(layers)):
            raise NeedsMemory(f"'{layers.path}' is not a plain stack of blocks.")
        several = len(set(layers.kinds)) > 1
        positions = depth.positions or ("append" if several and not per_layer(folder.config, len(layers)) else "spread")
        start, names = stack.first, tuple(map(str, range(len(layers))))
        found = order(len(layers) - start, new, depth.init, positions, layers.path)
        blocks = tuple(stack.blocks[layers.kinds.index(kind) - start] for kind in layers.kinds[start:])
        whole = Stack(layers.path, layers.path, names, start, blocks)
        edit = block_edit(analysis.sites.inference, whole, found, depth.init, fixed_eps=True)
        if edit.init in ("random", "zero-random"):
            raise NeedsMemory("fresh layers are drawn as their class does, which needs the model in memory.")
        grown.append(GrownList(layers, edit))

    def chosen(count: int, more: int) -> list[int]:
        fitting = ([source for source, _ in g.order] for g in grown if g.edit and len(g.layers) == count)
        return next((found for found in fitting if len(found) == count + more), at_the_end(count, more))

    return grown, with_longer_lists(model_class, before, config, chosen)


def check_kinds(teacher: nn.Module, student: nn.Module, lists: list[GrownList]) -> None:
    """The teacher's layers must stay what they are: a class may make a layer what it is by its place."""
    theirs = {layers.path: layers for layers in lists_of_layers(student)}
    for grown in lists:
        layers, other = grown.layers, theirs.get(grown.layers.path)
        if grown.edit is None or other is None:
            continue
        seen: dict[int, int] = {}
        for index, (source, new) in enumerate(grown.order):
            # A new block adds nothing, whatever its kind.
            if not new and seen.setdefault(layers.kinds[source], other.kinds[index]) != other.kinds[index]:
                raise KindError(
                    f"{type(teacher).__name__} makes layer {index} of '{layers.path}' another kind of layer than layer "
                    f"{source} of the teacher. positions='append' leaves every layer where it is."
                )
