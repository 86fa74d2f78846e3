"""Which tensors of an expert its output is proportional to: those of its last product."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import torch
from torch import nn

from net2net.capture import structural_copy
from net2net.moe._calls import Call


def output_tensors(experts: nn.Module, call: Call) -> tuple[str, ...]:
    """The parameters with which the output of an expert, or of stacked experts, doubles; none if there are no such.

    It is tried, with numbers of their own in every parameter: a bias of 0 would be overlooked else.

    Args:
        experts: a module of experts, or one expert. It is not changed.
        call: a call of it.
    """
    generator = torch.Generator().manual_seed(0)
    copied = structural_copy(experts, lambda _, t: _drawn(t, generator)).eval()
    parameters = dict(copied.named_parameters())

    args, kwargs = [_wide(a) for a in call.args], {k: _wide(v) for k, v in call.kwargs.items()}

    def run() -> torch.Tensor:
        return Call((), {}, copied(*args, **kwargs)).results[0]

    with torch.no_grad():
        before = run()
        for names in _candidates(copied):
            for name in names:
                parameters[name].mul_(2.0)
            doubled: bool = torch.allclose(run(), 2 * before, rtol=1e-4, atol=1e-6 * float(before.abs().max()))
            if doubled:
                return names
            for name in names:
                parameters[name].mul_(0.5)
    return ()


def _candidates(experts: nn.Module) -> Iterator[tuple[str, ...]]:
    """Sets of parameters of one module: those of all modules whole, the last first, then one or two of the stacked."""
    for path, module in reversed(list(experts.named_modules())):
        names = tuple(f"{path}.{n}" if path else n for n, _ in module.named_parameters(recurse=False))
        if names and path:
            yield names
    own = [name for name, _ in experts.named_parameters(recurse=False)]
    for count in (1, 2):
        yield from combinations(own, count)


def _drawn(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    wide: torch.Tensor = _wide(tensor.detach())
    if not isinstance(tensor, nn.Parameter):
        return wide.clone()
    size = float(wide.square().mean().sqrt()) or 0.02
    noise = torch.randn(wide.shape, generator=generator).to(wide)
    return nn.Parameter(wide + size * noise)


def _wide(value: Any) -> Any:
    """Tensors of numbers in float32 at least."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.promote_types(value.dtype, torch.float32))
    return value
