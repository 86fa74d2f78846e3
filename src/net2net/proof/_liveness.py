"""Do the new weights learn? A few backward passes with steps between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.capture import named_outputs, structural_copy
from net2net.proof._models import cloned
from net2net.proof._new_units import NewUnits, Places

# A gradient that is this part of the largest one, in steps of its dtype, is rounding.
_ROUNDING = 100.0


@dataclass(frozen=True)
class Call:
    """One way to run a network: a method, its positional and keyword arguments, and the mode."""

    method: str
    inputs: Any
    training: bool = False


@dataclass(frozen=True)
class Liveness:
    """What was measured of the gradients of new units.

    `dead` are the tensors in which the new units of some dimension get none though the old ones do, `stuck` those
    dimensions, `idle` the tensors in which the old ones get none either. `loudness` is the largest gradient of new
    entries over the largest of old ones, in the tensor where that is most.
    """

    dead: tuple[str, ...] = ()
    stuck: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    loudness: float | None = None


def liveness(model: nn.Module, calls: Iterable[Call], units: Sequence[NewUnits]) -> Liveness:
    """Which new units get a gradient in some call. Those of parameters that don't train are passed over.

    Args:
        model: the student; it is not changed.
        calls: what to run, one by one as long as some units have had no gradient.
        units: where new units stand.

    Raises:
        Exception: what the first call raised, where none could be run; or all parameters are frozen.
    """
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise RuntimeError("all parameters are frozen")
    units = [some for some in units if some.tensor in trained]
    alive: set[NewUnits] = set()
    beside: set[NewUnits] = set()
    loud: float | None = None
    errors: list[Exception] = []
    ran = 0
    for call in calls:
        left = [some for some in units if some not in alive]
        if not left:
            break
        try:
            with torch.random.fork_rng(devices=[]):
                if not ran:
                    loud = _loudness(structural_copy(model, cloned), call, units)
                new, old = _touched(structural_copy(model, cloned), call, left)
        except Exception as error:
            errors.append(error)
            continue
        ran += 1
        alive |= new
        beside |= old
    if errors and not ran:
        raise errors[0]
    still = [some for some in units if some not in alive]
    blamed = [some for some in still if some in beside]
    dead = tuple(dict.fromkeys(some.tensor for some in blamed))
    return Liveness(
        dead,
        tuple(dict.fromkeys(some.dimension for some in blamed if some.dimension)),
        tuple(dict.fromkeys(some.tensor for some in still if some.tensor not in dead)),
        loud,
    )


def _touched(model: nn.Module, call: Call, units: Sequence[NewUnits]) -> tuple[set[NewUnits], set[NewUnits]]:
    """The units of which some new one gets a gradient in three passes, and those of which some old one does.

    Between the passes steps are taken: zeros on the way out let the way in learn after the first.
    """
    model.train(call.training)
    new, old = set(), set()
    named = dict(model.named_parameters())
    with torch.enable_grad():
        for _ in range(3):
            for parameter in named.values():
                parameter.grad = None
            torch.autograd.backward(_loss(getattr(model, call.method), call.inputs))
            gradients = {name: p.grad for name, p in named.items() if p.grad is not None}
            largest = max(map(_size, gradients.values()), default=0.0)
            for some in units:
                gradient, own = gradients.get(some.tensor), gradients.get(some.copies or some.tensor)
                if gradient is not None:
                    new |= {some} if _size(_at(gradient, some.axis, some.new)) > 0 else set()
                if own is not None:
                    rounding = _ROUNDING * torch.finfo(own.dtype).eps * largest
                    old |= {some} if _size(_at(own, some.axis, some.old)) > rounding else set()
            _step(model)
    return new, old


def _loudness(model: nn.Module, call: Call, units: Sequence[NewUnits]) -> float | None:
    """The largest gradient of new entries over the largest of old ones, in the tensor where that is most.

    The gradient of an outgoing weight is its unit's activation times what flows back: new units that are too loud on
    either way show in it.
    """
    model.eval()
    with torch.enable_grad():
        torch.autograd.backward(_loss(getattr(model, call.method), call.inputs))
    ratios = []
    for name, parameter in model.named_parameters():
        mine = [some for some in units if some.tensor == name and some.axis is not None]
        if parameter.grad is None or not mine or parameter.dim() < 2:
            continue
        new = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
        for some in mine:
            assert some.axis is not None
            new.index_fill_(some.axis, torch.as_tensor(some.new, device=new.device), True)
        size = parameter.grad.abs()
        if new.any() and not new.all() and float(size[~new].max()) > 0:
            ratios.append(float(size[new].max() / size[~new].max()))
    return max(ratios, default=None)


def _loss(forward: Callable[..., Any], inputs: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros(())
    for output in named_outputs(forward(*inputs[0], **inputs[1])).values():
        if isinstance(output, torch.Tensor) and output.requires_grad:
            weight = torch.randn(output.shape, generator=generator, dtype=torch.float32).to(output)
            finite = torch.where(output.isfinite(), output, 0.0)
            total = total.to(output) + (finite * weight).sum()
    return total


def _step(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                size = parameter.square().mean().sqrt().clamp(min=1e-2)
                parameter.sub_(1e-2 * size * parameter.grad.sign())


def _at(gradient: torch.Tensor, axis: int | None, places: Places) -> torch.Tensor:
    if axis is None:
        return gradient
    return gradient.index_select(axis, torch.as_tensor(places, device=gradient.device))


def _size(gradient: torch.Tensor) -> float:
    return float(gradient.abs().max()) if gradient.numel() else 0.0
