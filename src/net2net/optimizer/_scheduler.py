"""The teacher's learning-rate scheduler goes on with the student's optimizer."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from net2net.errors import OptionError
from net2net.optimizer._followed import followed
from net2net.plan import Plan

# What schedulers keep for each group of the optimizer; True: a learning rate.
_PER_GROUP = {
    "base_lrs": True,
    "_last_lr": True,
    "min_lrs": True,
    "max_lrs": True,
    "lr_lambdas": False,
    "base_momentums": False,
    "max_momentums": False,
}
_Origin = tuple[int, float]  # a group of the teacher's optimizer, and what its learning rate is multiplied by


def grow_scheduler(
    plan: Plan, teacher: nn.Module, student: nn.Module, scheduler: LRScheduler, optimizer: Optimizer
) -> LRScheduler:
    """A copy of the teacher's scheduler, with its state, that sets the rates of the student's optimizer.

    Raises:
        OptionError: the optimizer is not the student's or its rates were set anew, or the scheduler is not that of the
            teacher's optimizer.
    """
    before = scheduler.optimizer
    group_of = {p: k for k, group in enumerate(before.param_groups) for p in group["params"]}
    sources = {p.parameter: group_of.get(p.source) for p in followed(plan, teacher, student)}
    origins: list[_Origin] = []
    for number, group in enumerate(optimizer.param_groups):
        found = {sources.get(p, group_of.get(p)) for p in group["params"]} or {
            min(number, len(before.param_groups) - 1)
        }
        if None in found or len(found) > 1:
            raise OptionError(
                f"group {number} of the optimizer is not made of one group of the scheduler's optimizer. Give the "
                "scheduler of the teacher's optimizer, and what growth.optimizer made of that optimizer."
            )
        index = next(k for k in found if k is not None)
        if _set_anew(before.param_groups[index], group):
            raise OptionError(
                f"the rate of group {number} is not the old one's any more (rates='restart', a rate set by hand, or a "
                "step of the old scheduler since): a schedule that goes on would lead elsewhere. Construct a new one."
            )
        origins.append((index, _ratio(before.param_groups[index], group)))
    if all("initial_lr" in group for group in optimizer.param_groups):
        _Marked(optimizer)
    return _rebound(scheduler, optimizer, origins)


class _Marked(LRScheduler):
    """Marks the steps of an optimizer, as the constructor of every scheduler does: without, schedulers warn."""

    def _initial_step(self) -> None:
        """No step: the rates are right as they are."""


def _ratio(before: dict[str, Any], after: dict[str, Any]) -> float:
    key = "initial_lr" if before.get("initial_lr") and "initial_lr" in after else "lr"
    old, new = float(before[key]), float(after[key])
    return new / old if old else 1.0


def _set_anew(before: dict[str, Any], after: dict[str, Any]) -> bool:
    """Whether a group's rate and the one that its scheduler began at were not multiplied by the same number."""
    if "initial_lr" not in before or "initial_lr" not in after:
        return False
    if "max_lr" in before and "max_lr" not in after:
        return True
    crosswise = [float(one["lr"]) * float(other["initial_lr"]) for one, other in ((before, after), (after, before))]
    return not math.isclose(*crosswise, rel_tol=1e-6)


def _rebound(scheduler: LRScheduler, optimizer: Optimizer, origins: list[_Origin]) -> LRScheduler:
    result = copy.copy(scheduler)
    for key, value in vars(scheduler).items():
        setattr(result, key, _followed(key, value, scheduler, optimizer, origins))
    return result


def _followed(key: str, value: Any, owner: LRScheduler, optimizer: Optimizer, origins: list[_Origin]) -> Any:
    """An attribute of a scheduler, for the copy of the scheduler."""
    if value is owner.optimizer:
        return optimizer
    if isinstance(value, LRScheduler):
        return _rebound(value, optimizer, origins)
    if isinstance(value, (list, tuple)) and any(isinstance(v, LRScheduler) for v in value):
        return type(value)(_followed(key, v, owner, optimizer, origins) for v in value)
    if key in _PER_GROUP and isinstance(value, list):
        return [_scaled(value[k], ratio) if _PER_GROUP[key] else value[k] for k, ratio in origins]
    return value if callable(value) else copy.copy(value)


def _scaled(rate: Any, ratio: float) -> Any:
    return rate.clone() * ratio if isinstance(rate, torch.Tensor) else rate * ratio
