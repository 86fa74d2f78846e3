"""A plan carried out: the tensors that it needs, and the student that it makes of another teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from net2net.analysis import Analysis
from net2net.apply import grow_state
from net2net.capture import structural_copy
from net2net.errors import StudentMismatchError
from net2net.plan import Plan
from net2net.student import initial_values


def carried_out(plan: Plan, teacher: nn.Module, student: nn.Module) -> nn.Module:
    """What a plan makes of another teacher, given what it made of the first."""
    initial = initial_values(student, plan.seed) if any(step.draws_initial for step in plan.steps) else None
    state = grow_state(plan, _state(plan, teacher), initial)
    computed = dict(student.named_buffers(remove_duplicate=False)).keys() - student.state_dict().keys()
    names: dict[int, list[str]] = {}
    for name, tensor in _tensors(student):
        names.setdefault(id(tensor), []).append(name)

    def real(_: str, tensor: torch.Tensor) -> torch.Tensor:
        aliases = sorted(names[id(tensor)], key=lambda name: name not in plan.tensors)
        found = [n for n in aliases if n in state and n not in computed and state[n].shape == tensor.shape]
        new = state[found[0]] if found else tensor.detach().clone()
        new = new if tensor.is_floating_point() else new.to(tensor.dtype)  # a new counter copies no weight's dtype
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    return structural_copy(student, real)


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def _state(plan: Plan, model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's tensors; tied ones under the name that the plan has for them."""
    first = plan.steps[0]
    known = first.tensors.keys() | {t.source for t in first.tensors.values()}
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, tensor in _tensors(model):
        if id(tensor) not in found or (name in known and found[id(tensor)][0] not in known):
            found[id(tensor)] = name, tensor
    return dict(found.values())


def require_same(teacher: nn.Module, other: nn.Module) -> None:
    """Raise if a network doesn't have the tensors of the one that was grown."""
    mine = {name: tuple(tensor.shape) for name, tensor in _tensors(teacher)}
    theirs = {name: tuple(tensor.shape) for name, tensor in _tensors(other)}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            here, there = mine.get(name, "missing"), theirs.get(name, "missing")
            raise StudentMismatchError(
                f"'{name}' is {here} in the network that was grown and {there} in this one. A growth is "
                "replayed on networks of the same shapes; grow this one by itself."
            )


def require_tensors(plan: Plan, state: Mapping[str, torch.Tensor]) -> None:
    """Raise if a network doesn't have the tensors that a plan was made for."""
    for name, tensor in plan.tensors.items():
        source = name if tensor.source is None else tensor.source
        found = state.get(source)
        if found is None:
            raise StudentMismatchError(f"the plan needs a tensor '{source}', which this network doesn't have.")
        if tensor.fill != "source" or tensor.new:
            continue
        fits = tensor.view is not None and math.prod(tensor.view[0]) == found.numel()
        sizes = tensor.seen(found).shape if fits else found.shape
        for axis, (m, size) in enumerate(zip(tensor.axes, sizes, strict=False)):
            if (tensor.shape[axis] != size) if m is None else m.before != size:
                raise StudentMismatchError(
                    f"'{source}' is {tuple(found.shape)} in this network, which is not what the plan was made for. "
                    "A plan is replayed on networks of the same shapes; grow this one by itself."
                )


def state_of(model: nn.Module, analysis: Analysis) -> dict[str, torch.Tensor]:
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor for name, tensor in tensors.items() if name not in analysis.sites.inference.graph.ties}
