"""What a model of the zoo is: a name, how to build it, and inputs that it runs on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Inputs = torch.Tensor | tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True)
class ZooModel:
    """One architecture at a size that a test can afford.

    `build()` gives a fresh float32 module in eval mode whose biases, norm parameters and norm statistics are
    not at their defaults (see `awaken`); `inputs()` gives example inputs: a tensor, a tuple, or a dict of
    keyword arguments. Both are deterministic.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], Inputs]

    def __str__(self) -> str:
        return self.name


def awaken(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move every bias, norm parameter and norm statistic away from its default, as training would have done."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: torch.Tensor, scale: float) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float32).to(like) * scale

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() <= 1:
                parameter.add_(noise(parameter, 0.1))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.add_(noise(buffer, 0.2))
            elif name.endswith("running_var"):
                buffer.mul_(1 + 0.5 * noise(buffer, 1.0).abs())
    return model.eval()
