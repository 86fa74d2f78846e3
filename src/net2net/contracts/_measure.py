"""What the contracts measure: outputs of two networks on the same inputs, whatever the library says of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from net2net.capture import Inputs

Tensors = list[torch.Tensor]


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors of a nested structure, in order."""
    if isinstance(value, torch.Tensor):
        yield from (value,) if value.is_floating_point() else ()
    elif isinstance(value, dict):
        for entry in value.values():
            yield from tensors_in(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from tensors_in(entry)


def called(network: nn.Module, inputs: Inputs) -> Tensors:
    """The floating-point outputs of one call, after the same draws whichever network it is."""
    torch.manual_seed(0)
    if isinstance(inputs, dict):
        result = network(**inputs)
    else:
        result = network(*inputs) if isinstance(inputs, tuple) else network(inputs)
    return list(tensors_in(result))


def in_float64(inputs: Any) -> Any:
    """The inputs with every floating-point tensor in float64."""
    if isinstance(inputs, torch.Tensor):
        return inputs.double() if inputs.is_floating_point() else inputs
    if isinstance(inputs, dict):
        return {name: in_float64(value) for name, value in inputs.items()}
    return tuple(map(in_float64, inputs))


def trained_alike(network: nn.Module) -> nn.Module:
    """The network in float64 as training leaves one: no bias, gain or statistic is 0 or 1 throughout."""
    generator = torch.Generator().manual_seed(0)
    network = network.double()
    with torch.no_grad():
        for tensor in [*network.parameters(), *network.buffers()]:
            if tensor.is_floating_point() and tensor.numel() and bool((tensor == tensor.reshape(-1)[0]).all()):
                tensor += 0.1 + 0.4 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return network


def furthest(ours: Tensors, theirs: Tensors) -> float:
    """The largest difference between two lists of outputs, relative to the largest entry of each."""
    assert len(ours) == len(theirs) and ours, "the networks give different numbers of tensors, or none"
    return max(float((a - b).detach().abs().max() / b.detach().abs().max()) for a, b in zip(ours, theirs, strict=True))
