"""How an arm's network comes to be, with the optimizer that trains it on."""

from __future__ import annotations

import warnings
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net.errors import Net2NetWarning
from net2net.experiments._experiment import Arm, Group
from net2net.experiments._tasks import Task, examples
from net2net.growth import Growth
from net2net.operators import deepen, transfer
from net2net.optimizer import grow_optimizer


class Builds(Protocol):
    """What makes networks of a shape."""

    def build(self, shape: Any) -> nn.Module:
        """A network with random weights."""


def fresh(task: Builds, shape: object, seed: int) -> nn.Module:
    """A network with random weights, fixed by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return task.build(shape)


def start(
    arm: Arm, group: Group, task: Task, teacher: nn.Module, optimizer: Optimizer, seed: int
) -> tuple[nn.Module, Optimizer, float | None]:
    """An arm's network before its first step.

    Args:
        teacher, optimizer: as the teacher's training left them; for "scratch" they are not looked at.
        seed: of every random draw.

    Returns:
        The network, its optimizer, and its relative error against the teacher (None where it has none).
    """
    if arm.kind == "continue":
        return teacher, optimizer, 0.0
    if arm.kind == "grow":
        growth = grown(arm, group, task, teacher, seed)
        # The rise of the rate is the task's own: the same in every arm.
        carried = grow_optimizer(growth.plan, growth.teacher, growth.student, optimizer, ramped=True)
        return growth.student, carried, growth.verification.max_relative_error
    model = fresh(task, group.shape, seed)
    error = None
    if arm.kind == "zero_rows":
        zero_rows(teacher, model)
        error = _error(teacher, model, examples(task, seed, 1)[0])
    return model, task.optimizer(model, 0.0), error


def grown(arm: Arm, group: Group, task: Task, teacher: nn.Module, seed: int) -> Growth:
    """The teacher, grown into the group's network by the arm's options."""
    inputs = examples(task, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Net2NetWarning)  # arms that are known to keep twins are part of the question
        if group.where is not None:
            return deepen(teacher, dict(group.where), inputs[0], inputs, kernel=group.kernel, seed=seed, **arm.options)
        return transfer(teacher, fresh(task, group.shape, seed), inputs[0], inputs, seed=seed, **arm.options)


def zero_rows(teacher: nn.Module, student: nn.Module) -> None:
    """G_zero for width as published: in every matrix new rows are zero on the old inputs, as are new gains of norms.

    New columns keep their random draws. It is a baseline: behind an RMSNorm, whose old gains are not rescaled, it
    changes the function, and new gates and what they gate start at a saddle together.

    Source: G_stack (Du et al., 2024, arXiv 2405.15319), appendix A.4, and its code.
    """
    theirs = student.state_dict()
    with torch.no_grad():
        for name, old in teacher.state_dict().items():
            new = theirs[name]
            if name.startswith("embed"):  # the places that it writes to are its columns
                new[:, old.shape[1] :] = 0
            elif new.dim() == 2:
                new[old.shape[0] :, : old.shape[1]] = 0
            else:
                new[old.shape[0] :] = 0
            new[tuple(slice(0, s) for s in old.shape)] = old


def _error(teacher: nn.Module, student: nn.Module, inputs: Tensor) -> float:
    teacher.eval()
    student.eval()
    with torch.no_grad():
        expected, found = teacher(inputs), student(inputs)
    return float((found - expected).abs().max() / expected.abs().max())
