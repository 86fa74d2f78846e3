"""Do the new weights learn? A few backward passes with steps between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from net2net.capture import named_outputs


def dead_parameters(
    model: nn.Module,
    inputs: Any,
    new_entries: Mapping[str, tuple[Any, ...] | None],
    method: str = "forward",
    training: bool = False,
) -> tuple[str, ...]:
    """Names of parameters none of whose new entries gets a gradient within two steps.

    Args:
        model: a copy that may be changed.
        inputs: positional and keyword arguments.
        new_entries: for each parameter that grew, per axis the places that are new (None: all old); None in place of
            the axes means that all of it is new.
        method, training: what is run, and in which mode.
    """
    model.train(training)
    forward = getattr(model, method)
    named = dict(model.named_parameters())
    alive: set[str] = set()
    with torch.enable_grad():
        for _ in range(3):
            for parameter in named.values():
                parameter.grad = None
            _loss(forward, inputs).backward()  # type: ignore[no-untyped-call]
            for name, places in new_entries.items():
                if name in named and named[name].grad is not None and _touched(named[name].grad, places):
                    alive.add(name)
            _step(model)
    trainable = {n for n, p in named.items() if p.requires_grad}
    return tuple(n for n in new_entries if n in trainable and n not in alive)


def loudness(
    model: nn.Module, inputs: Any, new_entries: Mapping[str, tuple[Any, ...] | None], method: str = "forward"
) -> float | None:
    """The largest gradient of new entries over the largest of old ones, in the tensor where that is most.

    The gradient of an outgoing weight is its unit's activation times what flows back: new units that are too loud on
    either way show in it. The arguments are those of `dead_parameters`.
    """
    model.eval()
    with torch.enable_grad():
        _loss(getattr(model, method), inputs).backward()  # type: ignore[no-untyped-call]
    ratios = []
    for name, parameter in model.named_parameters():
        places = new_entries.get(name)
        if parameter.grad is None or places is None or parameter.dim() < 2:
            continue
        new = torch.zeros(parameter.shape, dtype=torch.bool, device=parameter.device)
        for axis, some in enumerate(places):
            if some is not None and len(some):
                new.index_fill_(axis, torch.as_tensor(some, device=new.device), True)
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


def _touched(gradient: torch.Tensor | None, places: tuple[Any, ...] | None) -> bool:
    """Whether some new entry has a gradient."""
    if gradient is None:
        return False
    if places is None:
        return bool((gradient != 0).any())
    for axis, new in enumerate(places):
        if new is not None and len(new):
            index = torch.as_tensor(new, device=gradient.device)
            if bool((gradient.index_select(axis, index) != 0).any()):
                return True
    return False
