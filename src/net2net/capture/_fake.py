"""Models without memory: their tensors have shapes and devices, and no entries."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from net2net.capture._structure import structural_copy

_CPU = torch.device("cpu")


def devices_of(model: nn.Module) -> dict[str, torch.device]:
    """The device of every parameter and buffer that has memory."""
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor.device for name, tensor in tensors if tensor.device.type != "meta"}


def without_memory(model: nn.Module, devices: Mapping[str, torch.device] | None = None) -> nn.Module:
    """A copy of the module tree with fake tensors, so that its forward runs and exports without computing anything.

    A fake tensor says that it is on the device where the real one will be, so that it meets the tensors that a
    forward makes by itself (a mask, a state of zeros) where it would meet them later.

    Args:
        model: its tensors may be on the meta device.
        devices: where those on the meta device will be; by default on the first of these devices, else on that of
            the model's first tensor with memory, else on the CPU.
    """
    mode = FakeTensorMode()
    devices = devices if devices is not None else {}
    usual = next(iter([*devices.values(), *devices_of(model).values()]), _CPU)

    def fake(name: str, tensor: torch.Tensor) -> torch.Tensor:
        device = tensor.device if tensor.device.type != "meta" else devices.get(name, usual)
        with mode:
            new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    copy = structural_copy(model, fake)
    for module in copy.modules():
        for name, value in list(vars(module).items()):
            if isinstance(value, torch.Tensor) and value.device.type == "meta":
                vars(module)[name] = fake(name, value)
    return copy
