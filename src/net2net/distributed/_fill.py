"""The student's shards from the teacher's, one tensor at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from net2net.apply import grow_one
from net2net.distributed._agree import Reason
from net2net.distributed._bare import whole
from net2net.plan import Plan
from net2net.student import initial_values


class Gathered(Mapping[str, torch.Tensor]):
    """The teacher's tensors by name, each gathered when it is asked for and held by nobody."""

    def __init__(self, model: nn.Module) -> None:
        self.tensors = dict(model.named_parameters(remove_duplicate=False)) | dict(
            model.named_buffers(remove_duplicate=False)
        )

    def __getitem__(self, name: str) -> torch.Tensor:
        return whole(self.tensors[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def like(tensor: torch.Tensor, parameter: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The part of a tensor that this rank holds of a parameter; every rank has all of it, so nothing is sent."""
    if not isinstance(parameter, DTensor):
        return tensor.to(device)
    return distribute_tensor(tensor.to(device), parameter.device_mesh, parameter.placements, src_data_rank=None)


def fill(
    plan: Plan, teacher: nn.Module, skeleton: nn.Module, student: nn.Module, device: torch.device, reason: Reason
) -> None:
    """Give a student without memory its tensors, in place.

    Args:
        plan: the growth.
        teacher: sharded or not.
        skeleton: the student before it was sharded.
        student: sharded, with its parameters on the meta device.
        device: of the student's tensors.
        reason: where failures of this rank go.
    """
    state = Gathered(teacher)
    draws = any(step.draws_initial for step in plan.steps)
    saved = student.state_dict().keys()
    parameters: dict[int, list[str]] = {}
    for name, parameter in student.named_parameters(remove_duplicate=False):
        parameters.setdefault(id(parameter), []).append(name)
    originals = dict(student.named_parameters(remove_duplicate=False))
    made: dict[str, nn.Parameter] = {}
    for aliases in parameters.values():
        name = next((n for n in aliases if n in plan.tensors), aliases[0])
        new = _grown(plan, name, state, skeleton if draws else None, reason)
        target = originals[name]
        if new is None or new.shape != target.shape:
            with reason.kept():
                raise ValueError(f"'{name}' is {None if new is None else tuple(new.shape)}, not {tuple(target.shape)}")
            continue
        shard = nn.Parameter(like(new, target, device), target.requires_grad)
        made |= dict.fromkeys(aliases, shard)
    if reason.error is None:
        student.load_state_dict(made, strict=False, assign=True)
    for path, module in student.named_modules():
        for key, buffer in module._buffers.items():
            name = f"{path}.{key}" if path else key
            if buffer is None:
                continue
            known = name in saved and (name in plan.tensors or name in state.tensors)
            grown = _grown(plan, name, state, skeleton if draws else None, reason) if known else None
            fits = grown is not None and grown.shape == buffer.shape
            value = grown if grown is not None and fits else buffer.detach().clone()
            module._buffers[key] = value.to(device if fits else buffer.device, buffer.dtype)


def _grown(plan: Plan, name: str, state: Gathered, skeleton: nn.Module | None, reason: Reason) -> torch.Tensor | None:
    """A tensor of the student. Where it fails, what all ranks do together for it has been done before."""
    needed = _Held(state)
    needed.hold(plan, name)
    with reason.kept():
        # Made anew for each tensor: the values of one layer are in memory at a time.
        initial = None if skeleton is None else initial_values(skeleton, plan.seed)
        return grow_one(plan, name, needed, initial)
    return None


class _Held(dict[str, torch.Tensor]):
    """The teacher's tensors that one tensor of the student is made of, gathered in an order that all ranks share."""

    def __init__(self, state: Gathered) -> None:
        super().__init__()
        self.state = state

    def hold(self, plan: Plan | None, name: str) -> None:
        """Gather what a plan reads for a tensor."""
        if plan is None:
            if name in self.state.tensors and name not in self:
                self[name] = self.state[name]
            return
        tensor = plan.tensors.get(name)
        if tensor is None:
            self.hold(plan.earlier, name)
            return
        read = [path for shift in tensor.shifts for path in (shift.weight, *shift.reads)]
        for path in dict.fromkeys((tensor.source or name, *read)):
            self.hold(plan.earlier, path)
