"""Drafts of the student: the teacher's modules at the new sizes, first without weights, then with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from net2net.capture import devices_of, kept_tensors, structural_copy, without_memory
from net2net.plan import Plan
from net2net.pretrained import Tried, numbers, pretrained_in
from net2net.student._attributes import Setting, set_numbers
from net2net.student._donors import donors_of, unread_tensors
from net2net.student._layers import update_layer
from net2net.student._sizes import NewSizes
from net2net.student._states import grown_states, resized_states

_LAYER_OPS = (
    "aten.conv",
    "aten.batch_norm",
    "aten.layer_norm",
    "aten.rms_norm",
    "aten.group_norm",
    "aten.instance_norm",
)


@dataclass
class Blueprint:
    """A student without memory, on the teacher's device, and what made it.

    `settings` are numbers of its modules set anew, `donors` the Hugging Face models constructed at the new size, and
    `buffers` says by what factor buffers that their constructors compute have changed; `resized` are tensors that no
    operation reads and that a donor has at another size, and `states` are the shapes of states that modules keep.
    """

    model: nn.Module
    settings: tuple[Setting, ...] = ()
    donors: dict[str, nn.Module] = field(default_factory=dict)
    buffers: dict[str, float] = field(default_factory=dict)
    resized: dict[str, tuple[int, ...]] = field(default_factory=dict)
    states: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def having(self, settings: tuple[Setting, ...]) -> Blueprint:
        """The same student with numbers set anew."""
        if settings == self.settings:
            return self
        model = structural_copy(self.model)
        set_numbers(model, settings)
        return replace(self, model=model, settings=settings)

    def changed(self, teacher: nn.Module) -> dict[str, tuple[Any, Any]]:
        """Every number of a module or a config that isn't the teacher's, and the shapes of states: {where it is:
        (old, new)}."""
        found: dict[str, tuple[Any, Any]] = {s.number.place: (s.number.old, s.new) for s in self.settings}
        kept = kept_tensors(teacher) if self.states else {}
        for place, shape in self.states.items():
            found[place] = (str(list(kept[place].shape)), str(list(shape)))
        for path, donor in self.donors.items():
            before = dict(numbers(teacher.get_submodule(path).config))
            for key, new in numbers(donor.config):
                if key in before and before[key] != new:
                    found[".".join(map(str, ([path] if path else []) + ["config", *key]))] = (before[key], new)
        return found


def draft(teacher: nn.Module, plan: Plan, sizes: NewSizes, tried: Tried) -> Iterator[Blueprint]:
    """Candidate students without memory, the likeliest first.

    The sizes of torch's own layers are those of their tensors, and Hugging Face models are constructed anew; numbers
    that other modules keep are the teacher's.
    """
    shapes = {name: tensor.shape for name, tensor in plan.tensors.items()}
    resized: dict[str, tuple[int, ...]] = {}

    def bare(name: str, tensor: torch.Tensor) -> torch.Tensor:
        shape = shapes.get(name, resized.get(name, tensor.shape))
        new = torch.empty(shape, dtype=tensor.dtype, device="meta")
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    devices, states = devices_of(teacher), resized_states(teacher, sizes)
    pretrained = dict(pretrained_in(teacher))
    for donors in _donor_sets(pretrained, {n: tuple(s) for n, s in shapes.items()}, sizes, plan, tried):
        resized = _resized(teacher, donors, sizes)
        student = structural_copy(teacher, bare, grown_states(teacher, states))
        _furnish(student, plan, sizes, (), donors)
        student = without_memory(student, devices)
        yield Blueprint(student, (), donors, changed_buffers(teacher, donors), resized, states)


def fill(
    teacher: nn.Module, blueprint: Blueprint, plan: Plan, sizes: NewSizes, state: Mapping[str, torch.Tensor]
) -> nn.Module:
    """The student with its weights."""

    def real(name: str, tensor: torch.Tensor) -> torch.Tensor:
        new = state[name] if name in state else tensor.detach().clone()
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    student = structural_copy(teacher, real, grown_states(teacher, blueprint.states))
    _furnish(student, plan, sizes, blueprint.settings, blueprint.donors)
    return student


def _donor_sets(
    pretrained: dict[str, nn.Module], shapes: dict[str, tuple[int, ...]], sizes: NewSizes, plan: Plan, tried: Tried
) -> Iterator[dict[str, nn.Module]]:
    """Choices of a donor for each Hugging Face model in the tree."""
    if not pretrained:
        yield {}
        return
    (path, module), *others = pretrained.items()
    for donor in donors_of(module, path, shapes, sizes, plan.attributes, tried):
        for rest in _donor_sets(dict(others), shapes, sizes, plan, tried):
            yield {path: donor, **rest}


def _furnish(
    student: nn.Module, plan: Plan, sizes: NewSizes, settings: tuple[Setting, ...], donors: dict[str, nn.Module]
) -> None:
    """Set the sizes and other attributes of a student that has its tensors."""
    for path, donor in donors.items():
        module = student.get_submodule(path)
        adopt(module, donor)
        for name, new, old in list(_computed_buffers(module, donor)):
            owner, _, attribute = name.rpartition(".")
            module.get_submodule(owner)._buffers[attribute] = new.to(old)
    nodes = {n.module: n for n in sizes.inference.graph.nodes if n.op.startswith(_LAYER_OPS)}
    modes = {module: module.training for module in student.modules()}
    student.eval()  # reading a weight that is computed (spectral norm) would change what it is computed with
    for path, module in student.named_modules():
        update_layer(module, nodes.get(path), sizes)
    for module, training in modes.items():
        module.training = training
    set_numbers(student, settings)
    for path, attributes in plan.attributes.items():
        for name, number in attributes.items():
            setattr(student.get_submodule(path), name, number)


def _resized(teacher: nn.Module, donors: dict[str, nn.Module], sizes: NewSizes) -> dict[str, tuple[int, ...]]:
    unread = unread_tensors(sizes)
    found = {}
    for path, donor in donors.items():
        mine = teacher.get_submodule(path).state_dict()
        for name, tensor in donor.state_dict().items():
            full = f"{path}.{name}" if path else name
            if full in unread and tensor.shape != mine[name].shape:
                found[full] = tuple(tensor.shape)
    return found


def changed_buffers(teacher: nn.Module, donors: dict[str, nn.Module]) -> dict[str, float]:
    """Buffers that are no part of a checkpoint and that a donor computes as a multiple of the teacher's."""
    found = {}
    for path, donor in donors.items():
        for name, new, old in _computed_buffers(teacher.get_submodule(path), donor):
            if new.shape == old.shape and old.numel() and old.device.type != "meta" and bool((old != 0).any()):
                place = old.abs().argmax()
                ratio = float(new.reshape(-1)[place]) / float(old.reshape(-1)[place])
                if abs(ratio - 1) > 1e-6:
                    found[f"{path}.{name}" if path else name] = ratio
    return found


def _computed_buffers(model: nn.Module, donor: nn.Module) -> Iterator[tuple[str, torch.Tensor, torch.Tensor]]:
    kept = donor.state_dict().keys()
    mine = dict(model.named_buffers())
    for name, buffer in donor.named_buffers():
        if name not in kept and name in mine and buffer.device.type != "meta" and buffer.is_floating_point():
            yield name, buffer, mine[name]


def adopt(student: nn.Module, donor: nn.Module) -> None:
    """Take every attribute that holds a size, a number or a config from a model constructed at the new size."""
    theirs_by_path = dict(donor.named_modules(remove_duplicate=False))
    for path, mine in student.named_modules():
        theirs = theirs_by_path.get(path)
        for name, value in vars(theirs).items() if theirs is not None else ():
            if not name.startswith("_") and name != "training" and not _holds_tensors(value):
                vars(mine)[name] = value


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, (torch.Tensor, nn.Module)):
        return True
    return isinstance(value, (list, tuple)) and any(map(_holds_tensors, value))
