"""Plan -> optimizer: the student's optimizer goes on from where the teacher's was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.errors import OptionError
from net2net.optimizer._followed import Followed, followed
from net2net.optimizer._groups import student_groups
from net2net.optimizer._moments import KINDS, grow_moment, with_ramp
from net2net.optimizer._rules import OptimizerRules, carried, copied, rules_of
from net2net.plan import Plan

# All of a tensor that may be sharded; and the part of a tensor that is kept where a parameter is.
Whole = Callable[[torch.Tensor], torch.Tensor]
Part = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def _on_device(tensor: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    return tensor.to(parameter.device)


def grow_optimizer(
    plan: Plan,
    teacher: nn.Module,
    student: nn.Module,
    optimizer: Optimizer,
    rates: str = "keep",
    ramped: bool = False,
    *,
    whole: Whole = torch.Tensor.detach,
    part: Part = _on_device,
) -> Optimizer:
    """The student's optimizer: the teacher's class, options and groups, with its state carried along the plan.

    Args:
        plan: the growth.
        teacher: the network that `optimizer` trains.
        student: the network that the plan made of it.
        optimizer: the teacher's optimizer; it is not changed.
        rates: as for `Growth.optimizer`.
        ramped: whether the learning rates will rise from 0.
        whole, part: gather a tensor that is sharded, and keep the own part of one.

    Raises:
        OptionError: the optimizer is of an unknown class or no optimizer of the teacher, or the rates are not defined.
    """
    rules = rules_of(optimizer)
    result = _constructed(optimizer, student_groups(plan, teacher, student, optimizer, rates))
    for parameter, state in optimizer.state.items():  # those of other networks
        if any(parameter is p for group in result.param_groups for p in group["params"]):
            result.state[parameter] = {key: copied(value) for key, value in state.items()}
    mine = {p for group in result.param_groups for p in group["params"]}
    for member in followed(plan, teacher, student):
        state = optimizer.state.get(member.source)
        if member.parameter in mine and state:
            result.state[member.parameter] = _state(state, member, rules, type(optimizer).__name__, ramped, whole, part)
    return result


def _constructed(optimizer: Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    cls: Any = type(optimizer)
    known = inspect.signature(cls).parameters
    try:
        result: Optimizer = cls(groups, **{k: v for k, v in optimizer.defaults.items() if k in known})
    except (TypeError, ValueError) as error:
        raise OptionError(f"{cls.__name__} can't be made for the student: {error}") from error
    result.defaults = dict(optimizer.defaults)
    return result


def _state(
    state: Mapping[str, Any],
    member: Followed,
    rules: OptimizerRules,
    optimizer: str,
    ramped: bool,
    whole: Whole,
    part: Part,
) -> dict[str, Any]:
    """The state of one parameter of the student.

    Raises:
        OptionError: the teacher's has an entry that is not known, or one that doesn't have its parameter's shape.
    """
    unknown = next((key for key in state if key not in rules.state), None)
    if unknown is not None:
        raise OptionError(
            f"{optimizer} keeps '{unknown}' for a parameter, which is not known and would be lost. Say what it is "
            f"with net2net.register_optimizer({optimizer}, {{'{unknown}': ...}})."
        )

    def grow(tensor: torch.Tensor, kind: str) -> torch.Tensor:
        if tensor.shape != member.source.shape:
            raise OptionError(
                f"{optimizer} keeps a {kind} of shape {tuple(tensor.shape)} for a parameter of shape "
                f"{tuple(member.source.shape)}: register a function for it (net2net.register_optimizer)."
            )
        rule = with_ramp(KINDS[kind]) if ramped else KINDS[kind]
        if kind == "weight":  # the distance from the weight is what scales as the weight does
            behind = grow_moment(whole(tensor) - whole(member.source), member.steps, rule)
            return part(behind, member.parameter) + member.parameter.detach()
        return part(grow_moment(whole(tensor), member.steps, rule), member.parameter)

    with torch.no_grad():
        return dict(carried(state, rules.state, grow))
