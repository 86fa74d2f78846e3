"""Copies of the models, which the proof may run, train and spoil."""

from __future__ import annotations

import torch
from torch import nn

from net2net.capture import structural_copy


def copy_in(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in another dtype; its statistics can be updated without touching the model."""

    def convert(_: str, tensor: torch.Tensor) -> torch.Tensor:
        if isinstance(tensor, nn.Parameter):
            new = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
            return nn.Parameter(new, requires_grad=tensor.requires_grad)
        return tensor.detach().to(dtype).clone() if tensor.is_floating_point() else tensor.detach().clone()

    copy = structural_copy(model, convert)
    for module in copy.modules():
        if isinstance(module, nn.RNNBase):
            module._flat_weights = [getattr(module, n) for n in module._flat_weights_names]
    return copy


def cloned(_: str, tensor: torch.Tensor) -> torch.Tensor:
    new = tensor.detach().clone()
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new


def with_zeros_drawn(model: nn.Module, every: bool) -> nn.Module | None:
    """A copy in which parameters that are 0 throughout are drawn at random; None where there are none.

    What such a parameter multiplies reaches no output. Biases alone hide nothing: without `every` they don't count.
    """
    zeros = {n for n, p in model.named_parameters() if p.is_floating_point() and p.numel() and not p.any()}
    if not zeros or not (every or any(not name.endswith("bias") for name in zeros)):
        return None
    generator = torch.Generator().manual_seed(2)
    drawn = {}
    for name, parameter in model.named_parameters():
        if name in zeros:
            inputs = max(1, parameter[0].numel()) if parameter.dim() > 1 else 1
            drawn[name] = torch.randn(parameter.shape, generator=generator).to(parameter) / inputs**0.5
    return structural_copy(model, lambda name, t: nn.Parameter(drawn[name]) if name in drawn else cloned(name, t))


def dtype_of(model: nn.Module) -> torch.dtype:
    return next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)


def device_of(model: nn.Module) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))
