"""Runs a model whose weights are on disk: each module reads its own just before it runs and drops them after."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net._threads import in_threads
from net2net.apply._pieces import PIECE
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
        source = {name: names[f"{path}.{name}" if path else name] for name in (*own, *kept)}
        if type(module) is nn.Linear:
            module.forward = _linear(folder, source, dtype)  # type: ignore[method-assign, assignment]
        elif type(module) is nn.Embedding:
            module.forward = _embedding(folder, source["weight"], dtype)  # type: ignore[method-assign, assignment]
        elif source:
            _hook(module, folder, source, {name: module._parameters[name] for name in own}, dtype)
    return model


def _stored(name: str, folder: Folder, ties: dict[str, str]) -> str:
    """Under which of the names of a shared tensor the files have it."""
    if name in folder.tensors:
        return name
    first = ties.get(name, name)
    return next(n for n in (first, *(n for n, f in ties.items() if f == first)) if n in folder.tensors)


def _linear(folder: Folder, source: dict[str, str], dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """A linear layer that reads its weight in runs of rows: a head over a large vocabulary never is in memory."""
    outputs, inputs = folder.tensors[source["weight"]].shape
    step = max(1, PIECE // inputs)

    def forward(x: torch.Tensor) -> torch.Tensor:
        bias = folder.read(source["bias"]).to(dtype) if "bias" in source else None
        result = x.new_empty(*x.shape[:-1], outputs)

        def run(start: int) -> None:
            rows = np.arange(start, min(start + step, outputs))
            part = folder.read(source["weight"], rows).to(dtype)
            shift = None if bias is None else bias[start : start + step]
            with torch.no_grad():  # a setting of each thread
                result[..., start : start + step] = nn.functional.linear(x, part, shift)

        for _ in in_threads(run, range(0, outputs, step)):
            pass
        return result

    return forward


def _embedding(folder: Folder, name: str, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """A table of which only the rows that are asked for are read."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        rows, places = torch.unique(ids, return_inverse=True)
        return folder.read(name, rows.numpy()).to(dtype)[places]

    return forward


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
