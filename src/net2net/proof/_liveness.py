"""Do the new weights learn? A few backward passes with steps between them."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.capture import named_outputs, structural_copy
from net2net.proof._choices import Choices
from net2net.proof._models import cloned
from net2net.proof._new_units import NewUnits, Places

# A gradient that is this part of the largest one, in steps of its dtype, is rounding.
_ROUNDING = 100.0
# Of further calls where units may be in the dark: the least and the most, and how much work they may be in all. So
# many parameters are as much work as an operation.
_LEAST, _MOST, _WORK, _PARAMETERS = 8, 48, 20_000, 1_000


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


def liveness(model: nn.Module, calls: Sequence[Call], further: Iterator[Call], units: Sequence[NewUnits]) -> Liveness:
    """Which new units get a gradient in some call. Those of parameters that don't train are passed over.

    Args:
        model: the student; it is not changed.
        calls: what to run, one by one as long as some units have had no gradient.
        further: the same on other inputs, for what these don't reach.
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
    for call in itertools.chain(calls, _worth_it(model, calls, further)):
        left = [some for some in units if some not in alive]
        if not left:
            break
        try:
            with torch.random.fork_rng(devices=[]):
                found = _touched(structural_copy(model, cloned), call, left)
        except Exception as error:
            errors.append(error)
            continue
        if not ran:
            loud = found.loudness
        ran += 1
        alive |= found.new
        beside |= found.old
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


def _worth_it(model: nn.Module, calls: Sequence[Call], further: Iterator[Call]) -> Iterator[Call]:
    """As many of the further calls as can show something.

    What is 0 on all inputs is 0 on any of them where nothing is cut off or chosen: the network is analytic then. Where
    a ReLU or a maximum may keep units in the dark, some dozens: counted, not timed.
    """
    given = [call for call in calls if not call.training]
    dark, work = False, sum(p.numel() for p in model.parameters()) // _PARAMETERS
    for call in given:
        copy = structural_copy(model, cloned).eval()
        with torch.no_grad(), Choices(call.inputs) as seen, contextlib.suppress(Exception):
            getattr(copy, call.method)(*call.inputs[0], **call.inputs[1])
        dark, work = dark or seen.dark, work + seen.work
    count = max(_LEAST, min(_MOST, _WORK // max(work, 1))) if dark else 1
    yield from itertools.islice(further, count * len(given))


@dataclass(frozen=True)
class _Touched:
    """The units of which some new one gets a gradient, those of which some old one does, and how loud the first are."""

    new: set[NewUnits]
    old: set[NewUnits]
    loudness: float | None


def _touched(model: nn.Module, call: Call, units: Sequence[NewUnits]) -> _Touched:
    """What gradients reach in up to three passes.

    Between the passes steps are taken: zeros on the way out let the way in learn after the first.
    """
    model.train(call.training)
    new, old = set(), set()
    named = dict(model.named_parameters())
    loudness = None
    with torch.enable_grad():
        for count in range(3):
            for parameter in named.values():
                parameter.grad = None
            torch.autograd.backward(_loss(getattr(model, call.method), call.inputs))
            gradients = {name: p.grad for name, p in named.items() if p.grad is not None}
            largest = max(map(_size, gradients.values()), default=0.0)
            loudness = loudness if count else _loudness(gradients, units, largest)
            for some in units:
                gradient, own = gradients.get(some.tensor), gradients.get(some.copies or some.tensor)
                if gradient is not None:
                    new |= {some} if _size(_at(gradient, some.axis, some.new)) > 0 else set()
                if own is not None:
                    old |= {some} if _size(_at(own, some.axis, some.old)) > _rounding(own, largest) else set()
            if len(new) == len(units):
                break
            _step(model)
    return _Touched(new, old, loudness)


def _rounding(gradient: torch.Tensor, largest: float) -> float:
    return _ROUNDING * torch.finfo(gradient.dtype).eps * largest


def _loudness(gradients: Mapping[str, torch.Tensor], units: Sequence[NewUnits], largest: float) -> float | None:
    """The largest gradient of new entries over the largest of old ones, in the tensor where that is most.

    The gradient of an outgoing weight is its unit's activation times what flows back: new units that are too loud on
    either way show in it.
    """
    ratios = []
    for name, gradient in gradients.items():
        mine = [some for some in units if some.tensor == name and some.axis is not None and not some.routed]
        if not mine or gradient.dim() < 2:
            continue
        new = torch.zeros(gradient.shape, dtype=torch.bool, device=gradient.device)
        for some in mine:
            assert some.axis is not None
            new.index_fill_(some.axis, torch.as_tensor(some.new, device=new.device), True)
        size = gradient.abs()
        if new.any() and not new.all() and float(size[~new].max()) > _rounding(gradient, largest):
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
