"""Runs a model whose weights are on disk: each module reads its own just before it runs and drops them after."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from net2net.huggingface._folder import Folder, bare_model, tied_names


def streaming_model(folder: Folder, dtype: torch.dtype) -> nn.Module:
    """A model that computes with the weights of a checkpoint and holds those of one module at a time."""
    model = bare_model(folder.model_class, folder.config)
    ties = tied_names(model)
    for buffers in (module._buffers for module in model.modules()):
        for name, buffer in buffers.items():
            if buffer is not None and buffer.is_floating_point():
                buffers[name] = buffer.to(dtype)
    names = {name: _stored(name, folder, ties) for name in model.state_dict()}
    for path, module in model.named_modules():
        own = [name for name, p in module._parameters.items() if p is not None]
        kept = [name for name in module._buffers if (f"{path}.{name}" if path else name) in names]
        if own or kept:
            source = {name: names[f"{path}.{name}" if path else name] for name in (*own, *kept)}
            bare = {name: module._parameters[name] for name in own}
            _hook(module, folder, source, bare, dtype)
    return model


def _stored(name: str, folder: Folder, ties: dict[str, str]) -> str:
    """Under which of the names of a shared tensor the files have it."""
    if name in folder.tensors:
        return name
    first = ties.get(name, name)
    return next(n for n in (first, *(n for n, f in ties.items() if f == first)) if n in folder.tensors)


def _hook(
    module: nn.Module, folder: Folder, source: dict[str, str], bare: dict[str, nn.Parameter | None], dtype: torch.dtype
) -> None:
    def load(_: nn.Module, args: Any, kwargs: Any) -> None:
        for name, stored in source.items():
            tensor = folder.read(stored)
            tensor = tensor.to(dtype) if tensor.is_floating_point() else tensor
            if name in module._parameters:
                module._parameters[name] = nn.Parameter(tensor, requires_grad=False)
            else:
                module._buffers[name] = tensor

    def drop(_: nn.Module, args: Any, result: Any) -> None:
        module._parameters.update(bare)

    module.register_forward_pre_hook(load, with_kwargs=True)
    module.register_forward_hook(drop)
