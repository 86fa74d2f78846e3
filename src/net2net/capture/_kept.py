"""Tensors that modules keep beside their parameters and buffers."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from net2net.capture._held import parts

_APART = ("_parameters", "_buffers", "_modules")
_CLOSED = (nn.Module, types.FunctionType, types.MethodType)


def kept_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor in an attribute of a module, or in a tuple, list, dict or object there, by its place.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> net.state = [(torch.zeros(3), torch.zeros(3))]
        >>> list(kept_tensors(net))
        ['state[0][0]', 'state[0][1]']
    """
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found = {}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _APART:
                for step, tensor in _inside(value, set()):
                    if id(tensor) not in own:
                        found[f"{path}.{name}{step}" if path else f"{name}{step}"] = tensor
    return found


def _inside(value: Any, above: set[int]) -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(value, torch.Tensor):
        yield "", value
    elif not isinstance(value, _CLOSED) and id(value) not in above:
        for step, part in parts(value):
            yield from ((step + rest, tensor) for rest, tensor in _inside(part, above | {id(value)}))
