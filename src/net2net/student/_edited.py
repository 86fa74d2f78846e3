"""A copy of the teacher's modules on which edits are carried out, and a record of what its tensors are made of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from net2net.capture import carry, structural_copy
from net2net.plan import TensorPlan


@dataclass
class Skeleton:
    """A deeper network that shares the teacher's tensors; what is new is on the meta device.

    `tensors` says how each tensor with another name or other entries is made, `new` names those that are new,
    `moved` maps a module's path in the teacher to its path in the student, and `changed` are attributes that are set
    anew, with their old and new value.
    """

    model: nn.Module
    tensors: dict[str, TensorPlan] = field(default_factory=dict)
    new: frozenset[str] = frozenset()
    removed: tuple[str, ...] = ()
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, path: str, name: str, value: Any) -> None:
        """Set an attribute of a module of the student, and record what it was."""
        owner = self.model.get_submodule(path)
        before = getattr(owner, name)
        if before != value:
            key = f"{path}.{name}" if path else name
            self.changed[key] = (self.changed.get(key, (before,))[0], value)
            setattr(owner, name, value)


@dataclass(frozen=True)
class Made:
    """A tensor of the student that isn't the teacher's as it is. It is held, so that its identity stays its own.

    `fresh` says that it is another tensor than the teacher's, `mirrored` that it has the teacher's units all the same.
    """

    tensor: torch.Tensor
    plan: TensorPlan
    fresh: bool = True
    mirrored: bool = False


class Edited:
    """A structural copy of the teacher, that edits change, and where its tensors come from."""

    def __init__(self, teacher: nn.Module) -> None:
        self.model = structural_copy(teacher)
        self.names: dict[int, list[str]] = {}
        self.teacher = teacher
        self.made: dict[int, Made] = {}  # by the identity of the tensor
        self.attributes: list[tuple[nn.Module, dict[str, float]]] = []
        for name, tensor in _tensors(self.model):
            self.names.setdefault(id(tensor), []).append(name)
        self.paths = {id(module): path for path, module in self.model.named_modules()}
        self.modules = dict(self.model.named_modules(remove_duplicate=False))  # by their paths in the teacher

    def skeleton(self) -> Skeleton:
        """What has come of the copy."""
        tensors, seen, new = {}, set(), set()
        for name, tensor in _tensors(self.model):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            own = self.names.get(id(tensor), [""])[0]
            made = self.made.get(id(tensor))
            if made is not None:
                tensors[name] = replace(made.plan, new=made.fresh and not made.mirrored)
                if made.fresh:
                    new.add(name)
            elif name != own:
                tensors[name] = as_it_is(tensor, own)
        first = {name for name, _ in self.model.named_parameters()} | {name for name, _ in self.model.named_buffers()}
        removed = tuple(names[0] for names in self.names.values() if names[0] not in first)
        paths = {id(module): path for path, module in self.model.named_modules()}
        return Skeleton(
            self.model,
            tensors,
            frozenset(new),
            removed,
            {paths[id(module)]: values for module, values in self.attributes},
            {old: paths[key] for key, old in self.paths.items() if key in paths},
        )

    def plan_of(self, tensor: torch.Tensor) -> TensorPlan:
        """How a tensor of the copy is made."""
        known = self.made.get(id(tensor))
        return known.plan if known is not None else as_it_is(tensor, self.names[id(tensor)][0])

    def note(self, tensor: torch.Tensor, plan: TensorPlan, mirrored: bool = False) -> None:
        """Record how a new tensor is made."""
        self.made[id(tensor)] = Made(tensor, plan, mirrored=mirrored)

    def replace_tensor(
        self, module: nn.Module, name: str, tensor: torch.Tensor, plan: TensorPlan, mirrored: bool = False
    ) -> None:
        """Put a new tensor in the place of one of a module."""
        new = torch.empty(plan.shape, dtype=tensor.dtype, device="meta")
        made = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        carry(tensor, made, {id(part): part for part in (*self.model.modules(), *self.model.parameters())})
        self.note(made, plan, mirrored)
        setattr(module, name, made)

    def stored(self, layer: nn.Module) -> tuple[str, torch.dtype]:
        """The tensor that a layer's weight is, or is computed from (weight norm, spectral norm, pruning)."""
        tensors: list[torch.Tensor] = [*layer.parameters()] or [*layer.buffers()]
        weight = layer._parameters.get("weight")
        largest = weight if weight is not None else max(tensors, key=lambda t: (t.dim(), t.numel()))
        return self.names[id(largest)][0], largest.dtype

    def give(self, module: nn.Module, name: str, plan: TensorPlan) -> None:
        """Record how a tensor of a new module is made."""
        self.note(getattr(module, name), plan)

    def same(self, module: nn.Module) -> nn.Module:
        """The module of the copy that stands where this one stands in the teacher; itself if it stands nowhere."""
        path = next((p for p, m in self.teacher.named_modules() if m is module), None)
        return module if path is None else self.modules[path]


def direct_tensors(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def as_it_is(tensor: torch.Tensor, source: str) -> TensorPlan:
    return TensorPlan(tuple(tensor.shape), (None,) * tensor.dim(), source=source)


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
