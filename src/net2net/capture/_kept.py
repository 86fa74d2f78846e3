"""Tensors that modules keep beside their parameters and buffers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from net2net.capture._held import parts

_APART = ("_parameters", "_buffers", "_modules")


def kept_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """Every tensor in an attribute of a module, or in what it holds (a tuple, an object, a function), by its place.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> net.state = [(torch.zeros(3), torch.zeros(3))]
        >>> list(kept_tensors(net))
        ['state[0][0]', 'state[0][1]']
    """
    own = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    found, seen = {}, dict[int, Any]()
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name not in _APART:
                for step, tensor in _inside(value, seen):
                    if id(tensor) not in own:
                        found[f"{path}.{name}{step}" if path else f"{name}{step}"] = tensor
    return found


def _inside(value: Any, seen: dict[int, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors in something that none of what was seen holds; a config stands in each module of a network."""
    if isinstance(value, torch.Tensor):
        yield "", value
    elif not isinstance(value, nn.Module) and id(value) not in seen:
        seen[id(value)] = value
        for step, part in parts(value):
            yield from ((step + rest, tensor) for rest, tensor in _inside(part, seen))


def entries_of(tensor: Any) -> object:
    """Which entries a tensor has, in which order: the same for a tensor and what `detach` makes of it."""
    if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
        return id(tensor)
    return tensor.untyped_storage()._cdata, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()
