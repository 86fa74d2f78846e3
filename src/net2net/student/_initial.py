"""What a layer's own initialiser would put in its tensors: the new entries of the random-pad baseline."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import nn

from net2net.capture import structural_copy


def initial_values(model: nn.Module, seed: int) -> Callable[[str], torch.Tensor]:
    """A function from a tensor's name to freshly initialised values for it.

    Args:
        model: the student, on any device; only its structure is read.
        seed: of the draws.
    """

    @cache
    def initialised(path: str) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(
                zlib.crc32(f"{seed} {path}".encode())
            )  # no two layers get the same draws
            module = structural_copy(model.get_submodule(path), _empty)
            reset: Any = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
            if reset is not None:
                reset()
            whole: Any = getattr(model, "_init_weights", None)  # a Hugging Face model initialises its layers
            if whole is not None:
                whole(module)
        return module

    def value(name: str) -> torch.Tensor:
        path, _, attribute = name.rpartition(".")
        tensor: torch.Tensor = getattr(initialised(path), attribute)
        return tensor.detach()

    return value


def _empty(_: str, tensor: torch.Tensor) -> torch.Tensor:
    """A tensor on the CPU with small random entries, for what no initialiser touches."""
    new = torch.zeros(tensor.shape, dtype=tensor.dtype)
    if new.is_floating_point():
        new.normal_(0.0, 0.02)
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
