"""Blocks of a stack, repeated: copies with tensors of their own, in the container's order."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from net2net.capture import structural_copy
from net2net.depth import BlockEdit
from net2net.errors import OptionError
from net2net.student._deepened import DeepenedBlock
from net2net.student._edited import Edited, Made


def repeat_blocks(edited: Edited, edit: BlockEdit) -> None:
    stack = edit.stack
    container = edited.modules[stack.container]
    blocks = [edited.modules[block.path] for block in stack.blocks]
    old = [next(n for n, m in container._modules.items() if m is block) for block in blocks]
    paths = [block.path for block in stack.blocks]
    made = [_copied(edited, blocks[i], paths[i], edit.init) if new else blocks[i] for i, new in edit.order]
    for index, module in enumerate(made):
        _change(edited, edit, index, module)
    if not isinstance(container, (nn.Sequential, nn.ModuleList)):
        _in_one_place(container, old, edit, made)
        return
    children = list(container._modules.items())
    names = [name for name, _ in children]
    start, end = names.index(old[0]), names.index(old[-1])
    if end - start + 1 != len(old):
        raise OptionError(f"'{stack.name}': other modules stand between its blocks.")
    result = [*children[:start], *zip(_named(edit, old), made, strict=True), *children[end + 1 :]]
    refill(container, result)


def _in_one_place(container: nn.Module, old: list[str], edit: BlockEdit, made: list[nn.Module]) -> None:
    """Blocks that are attributes: each new one goes into one module with the one that it follows."""
    groups: list[list[nn.Module]] = []
    for (_, new), module in zip(edit.order, made, strict=True):
        if new and groups:
            groups[-1].append(module)
        elif new:
            raise OptionError(f"'{edit.stack.name}': no block can go before the first; it is an attribute.")
        else:
            groups.append([module])
    for name, group in zip(old, groups, strict=True):
        if len(group) > 1:
            container._modules[name] = DeepenedBlock(*group).train(group[0].training)


def _copied(edited: Edited, block: nn.Module, path: str, init: str) -> nn.Module:
    """A copy of a block with tensors of its own, but for those that others share."""

    def own(_: str, tensor: torch.Tensor) -> torch.Tensor:
        names = edited.names.get(id(tensor), [])
        if any(not name.startswith(path + ".") for name in names):
            return tensor
        new = torch.empty_like(tensor, device="meta", requires_grad=False)
        made = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        edited.note(made, edited.plan_of(tensor))
        return made

    made = structural_copy(block, own)
    if init in ("random", "zero-random"):
        for owner in made.modules():
            for tensor in [*owner.parameters(recurse=False), *owner.buffers(recurse=False)]:
                known = edited.made.get(id(tensor))
                if known is not None and (tensor.dim() > 1 or hasattr(owner, "reset_parameters")):
                    edited.made[id(tensor)] = replace(known, plan=replace(known.plan, fill="initial"))
    return made


def _change(edited: Edited, edit: BlockEdit, index: int, module: nn.Module) -> None:
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for (i, name), change in edit.changes.items():
        if i == index:
            tensor = tensors[name]
            known = edited.made.get(id(tensor)) or Made(tensor, edited.plan_of(tensor), fresh=False)
            edited.made[id(tensor)] = replace(known, plan=change.of(known.plan))
    for (i, path), values in edit.attributes.items():
        if i == index:
            edited.attributes.append((module.get_submodule(path), values))


def _named(edit: BlockEdit, old: list[str]) -> list[str]:
    """Names for blocks in a container with names; where they are numbers, `refill` counts anew."""
    names: list[str] = []
    for source, new in edit.order:
        name, k = old[source], 1
        while new and name in (*names, *old):
            name, k = f"{old[source]}_deeper{k}", k + 1
        names.append(name)
    return names


def refill(container: nn.Module, children: list[tuple[str, nn.Module | None]]) -> None:
    """Give a container these children, in this order; numbered names are counted anew."""
    numbered = all(name.isdigit() for name in container._modules)
    container._modules.clear()
    for i, (name, child) in enumerate(children):
        container._modules[str(i) if numbered else name] = child
