"""Constants that go from an input into a bias."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from net2net.plan import Shift

# What may stand between an input and the weight that reads it, of which a plan can say what it makes of a constant.
OPERATIONS: dict[str, Callable[..., torch.Tensor]] = {
    "aten.add": lambda self, other, alpha=1: self + other * alpha,
    "aten.sub": lambda self, other, alpha=1: self - other * alpha,
    "aten.mul": lambda self, other: self * other,
    "aten.div": lambda self, other: self / other,
    "aten.sqrt": lambda self: self.sqrt(),
    "aten.rsqrt": lambda self: self.rsqrt(),
    "aten.reciprocal": lambda self: 1 / self,
    "aten.neg": lambda self: -self,
    "aten.abs": lambda self: self.abs(),
    "aten.square": lambda self: self.square(),
    "aten.pow": lambda self, exponent: self**exponent,
    "aten.tanh": lambda self: self.tanh(),
    "aten.clamp": lambda self, min=None, max=None: self.clamp(min, max),
    "aten.clamp_min": lambda self, min: self.clamp(min=min),
    "aten.clamp_max": lambda self, max: self.clamp(max=max),
    "aten.batch_norm": lambda input, running_mean, running_var, eps, weight=1.0, bias=0.0: (
        (input - running_mean) / (running_var + eps).sqrt() * weight + bias
    ),
}


def shifted(bias: torch.Tensor, shifts: tuple[Shift, ...], state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """A bias with what constants make of the weights that read them; computed in float64, rounded once.

    Args:
        bias: of shape (units,).
        shifts: what to add.
        state: the tensors of the network that the bias is of.
    """
    if not shifts or bias.device.type == "meta":
        return bias
    total = bias.detach().double()
    for shift in shifts:
        weight = state[shift.weight].detach().double()
        values = value_of(shift.formula, shift, state)
        places = torch.from_numpy(shift.places).to(weight.device)
        read = torch.where(places >= 0, values[places.clamp(min=0)], 0.0)
        made = weight.movedim(shift.axis, -1) @ read
        total = total + (made.flatten(1).sum(1) if made.dim() > 1 else made)
    return total.to(bias.dtype)


def value_of(formula: Any, shift: Shift, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What a formula, or a part of one, makes of the constants of a shift: a number for each, in float64."""
    constants = torch.from_numpy(shift.constants).to(state[shift.weight].device)
    return torch.as_tensor(_value(formula, constants, state)).to(constants).expand(constants.shape)


def _value(formula: Any, constants: torch.Tensor, state: Mapping[str, torch.Tensor]) -> Any:
    if formula == "x":
        return constants
    if isinstance(formula, dict):
        entries = state[formula["state"]].detach().to(constants).reshape(-1)
        return entries[torch.tensor(formula["at"], device=entries.device)] if "at" in formula else entries
    if isinstance(formula, (list, tuple)):
        operation, arguments = formula
        return OPERATIONS[operation](**{name: _value(f, constants, state) for name, f in arguments.items()})
    return formula
