"""A short linear ramp of the learning rate, for after a growth; and steps in which the rate is 0 before it."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from net2net.errors import OptionError, require_kind

# An optimizer has one ramp: a second growth begins it anew.
_running: WeakKeyDictionary[Optimizer, RemovableHandle] = WeakKeyDictionary()


def ramp(optimizer: Optimizer, steps: int = 200, *, hold: int = 0) -> RemovableHandle:
    """Let the learning rate rise from almost 0 to its full value over the next steps of an optimizer.

    Each step uses the group's `lr` times (steps made + 1) / `steps`, and gives the `lr` back as it was: schedulers see
    nothing of the ramp, and go on. The steps made are counted in each group under "ramp_step", so that they are in the
    optimizer's `state_dict`; after loading one, call `ramp` again with the same numbers, and it goes on from there.

    With `hold` the rate is 0 before that: the optimizer's moments fill, and what an agent collected before a surgery
    goes by, while no weight moves.

    Args:
        optimizer: any optimizer; `growth.optimizer` has called this already.
        steps: the length of the ramp, in steps of the optimizer; 0 for none, after a hold. Steps that a GradScaler
            skips don't count.
        hold: for how many steps the rate is 0 first.

    Returns:
        A handle; `handle.remove()` ends the ramp at once.

    Raises:
        OptionError: a number of steps is no int, is negative, or both are 0.

    Source: OpenAI et al. (2019), "Dota 2 with Large Scale Deep Reinforcement Learning", appendix B, held the rate at 0
        after a surgery; in our measurements a ramp is what a restart needs (docs/surgery.md).

    Example:
        >>> import torch
        >>> weight = torch.nn.Parameter(torch.zeros(()))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> handle = ramp(optimizer, steps=4)
        >>> weight.grad, path = torch.tensor(-1.0), []
        >>> for _ in range(6):
        ...     optimizer.step()
        ...     path.append(weight.item())
        >>> path
        [0.25, 0.75, 1.5, 2.5, 3.5, 4.5]
        >>> optimizer.param_groups[0]["lr"]
        1.0
    """
    require_kind(optimizer, Optimizer, "the optimizer", "a torch.optim.Optimizer")
    if optimizer in _running:
        _running.pop(optimizer).remove()
    _require_steps("hold", hold)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < (0 if hold else 1):
        raise OptionError(f"steps={steps!r} is not a length of a ramp; use an int of at least 1.")
    length = hold + steps
    for group in optimizer.param_groups:
        group.setdefault(RAMP_KEY, 0)
    full: list[Any] = []

    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        after(optimizer, args, kwargs, made=0)  # a step that raised has left its rates behind
        for group in optimizer.param_groups:
            rate, done = group["lr"], group.get(RAMP_KEY, 0)
            full.append(rate.clone() if isinstance(rate, torch.Tensor) else rate)
            if done < length:
                _set(group, rate * (max(0, done + 1 - hold) / steps if steps else 0.0))

    def after(optimizer: Optimizer, args: Any, kwargs: Any, made: int = 1) -> None:
        for group, rate in zip(optimizer.param_groups, full, strict=False):
            _set(group, rate)
            group[RAMP_KEY] = min(group.get(RAMP_KEY, 0) + made, length)
        full.clear()

    first = optimizer.register_step_pre_hook(before)
    second = optimizer.register_step_post_hook(after)
    _running[optimizer] = _Both(first, second)
    return _running[optimizer]


def resume_ramp(optimizer: Optimizer, steps: int | None = None, *, hold: int = 0) -> None:
    """Go on with the ramp that an optimizer was in when its state was saved, if it was in one."""
    rise = RAMP_STEPS if steps is None else steps
    length = hold + rise
    if length and any(group.get(RAMP_KEY, length) < length for group in optimizer.param_groups):
        ramp(optimizer, rise, hold=hold)


def _set(group: dict[str, Any], rate: Any) -> None:
    """Set a rate; one that is a tensor keeps its identity, which compiled and captured steps rely on."""
    if isinstance(group["lr"], torch.Tensor):
        group["lr"].copy_(rate)
    else:
        group["lr"] = rate


class _Both(RemovableHandle):
    """Removes two hooks."""

    def __init__(self, first: RemovableHandle, second: RemovableHandle) -> None:
        self.first, self.second = first, second

    def remove(self) -> None:
        self.first.remove()
        self.second.remove()


def require_ramp(ramp: Any, hold: Any = 0) -> None:
    """Raise if the length of a ramp, or of the hold before it, is no number of steps.

    Raises:
        OptionError: it is none.
    """
    _require_steps("hold", hold)
    if ramp is not None and (isinstance(ramp, bool) or not isinstance(ramp, int) or ramp < 0):
        raise OptionError(f"ramp={ramp!r} is not a number of steps; use an int, 0 for no ramp, or None.")


def _require_steps(name: str, steps: Any) -> None:
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 0:
        raise OptionError(f"{name}={steps!r} is not a number of steps; use an int, 0 for none.")


RAMP_KEY = "ramp_step"  # how many steps of its ramp a group has made


# Steps of learning-rate warm-up after a growth.
RAMP_STEPS = 200
