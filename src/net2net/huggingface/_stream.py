"""Runs a model whose weights are on disk: each module reads its own just before it runs and drops them after."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Executor
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net.apply import PIECE, one_core_each, threads
from net2net.huggingface._folder import Folder, tied_names
from net2net.huggingface._parts import by_modules
from net2net.pretrained import bare_model

Buffers = SimpleQueue[tuple[torch.Tensor, torch.Tensor]]


class _OnDisk(torch.Tensor):
    """A weight that isn't in memory: it can be asked what it looks like, and computing with it is an error.

    On the meta device it would be no error: a product of a real tensor with one that has no memory is a real tensor of
    whatever the memory held before. One place of the first axis, such as an expert, is read where `place` can do so.
    """

    place: Callable[[int], torch.Tensor] | None

    def __new__(
        cls, shape: torch.Size, dtype: torch.dtype, place: Callable[[int], torch.Tensor] | None = None
    ) -> _OnDisk:
        make: Any = torch.Tensor._make_wrapper_subclass
        found: _OnDisk = make(cls, shape, dtype=dtype, device="cpu")
        found.place = place
        return found

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]  # torch's is a plain function
        """Every operation comes here."""
        if func is torch.ops.aten.select.int and args[1] == 0 and args[0].place is not None:
            return args[0].place(args[2])
        if func is torch.ops.aten.detach.default:
            return args[0]
        raise RuntimeError(f"{func} reads a weight outside of the forward of its module")


def streaming_model(folder: Folder, dtype: torch.dtype) -> nn.Module:
    """A model that computes with the weights of a checkpoint and holds those of one module, or one expert, at a time.

    Raises:
        NeedsMemory: its files hold the tensors of its modules in a way that isn't known.
    """
    config = copy.deepcopy(folder.config)
    config._experts_implementation = "eager"  # one expert after the other
    model = bare_model(folder.model_class, config)
    folder = by_modules(folder, model)
    ties = tied_names(model)
    for own in (module._buffers for module in model.modules()):
        for name, buffer in own.items():
            if buffer is not None and buffer.is_floating_point():
                own[name] = buffer.to(dtype)
    buffers, pool = _buffers(dtype), one_core_each()
    names = {name: _stored(name, folder, ties) for name in model.state_dict()}
    for path, module in model.named_modules():
        mine = [name for name, p in module._parameters.items() if p is not None]
        for name in mine:
            stored = names[f"{path}.{name}" if path else name]
            place = _experts(folder, stored, dtype) if _holds_experts(module) else None
            weight = _OnDisk(module._parameters[name].shape, dtype, place)
            module._parameters[name] = weight
        if _holds_experts(module):
            mine = []
        kept = [name for name in module._buffers if (f"{path}.{name}" if path else name) in names]
        source = {name: names[f"{path}.{name}" if path else name] for name in (*mine, *kept)}
        if type(module) is nn.Linear and module.in_features <= PIECE:
            module.forward = _linear(folder, source, buffers, pool)  # type: ignore[method-assign, assignment]  # of this one module
        elif type(module) is nn.Embedding:
            module.forward = _embedding(folder, source["weight"], dtype)  # type: ignore[method-assign, assignment]  # of this one module
        elif source:
            _hook(module, folder, source, {name: module._parameters[name] for name in mine}, dtype)
    return model


def _stored(name: str, folder: Folder, ties: dict[str, str]) -> str:
    """Under which of the names of a shared tensor the files have it."""
    if name in folder.tensors:
        return name
    first = ties.get(name, name)
    return next(n for n in (first, *(n for n, f in ties.items() if f == first)) if n in folder.tensors)


def _buffers(dtype: torch.dtype) -> Buffers:
    """Memory for a piece of a weight, as it is in the file and as it is computed with, for each thread.

    Memory that is taken anew for each piece is given back in parts that the next piece doesn't fit into.
    """
    found: Buffers = SimpleQueue()
    for _ in range(threads()):
        found.put((torch.empty(8 * PIECE, dtype=torch.uint8), torch.empty(PIECE, dtype=dtype)))
    return found


def _linear(
    folder: Folder, source: dict[str, str], buffers: Buffers, pool: Executor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """A linear layer that reads its weight in runs of rows: a head over a large vocabulary never is in memory."""
    outputs, inputs = folder.tensors[source["weight"]].shape
    step = PIECE // inputs

    def forward(x: torch.Tensor) -> torch.Tensor:
        bias = folder.read(source["bias"]).to(x.dtype) if "bias" in source else None
        result = x.new_empty(*x.shape[:-1], outputs)

        def run(start: int) -> None:
            rows = np.arange(start, min(start + step, outputs))
            stored, computed = buffers.get()
            try:
                part = computed[: len(rows) * inputs].view(len(rows), inputs)
                part.copy_(folder.read(source["weight"], rows, stored))
                shift = None if bias is None else bias[start : start + step]
                with torch.no_grad():  # a setting of each thread
                    result[..., start : start + step] = nn.functional.linear(x, part, shift)
            finally:
                buffers.put((stored, computed))

        for _ in pool.map(run, range(0, outputs, step)):
            pass
        return result

    return forward


def _embedding(folder: Folder, name: str, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """A table of which only the rows that are asked for are read."""

    def forward(ids: torch.Tensor) -> torch.Tensor:
        rows, places = torch.unique(ids, return_inverse=True)
        if rows.numel() and not 0 <= int(rows[0]) <= int(rows[-1]) < folder.tensors[name].shape[0]:
            raise IndexError(f"'{name}' has no row {int(rows[-1])}")
        return folder.read(name, rows.numpy()).to(dtype)[places]

    return forward


def _holds_experts(module: nn.Module) -> bool:
    """Whether a module's weights are stacks with an axis of experts, which it takes one at a time."""
    own = [p for p in module._parameters.values() if p is not None]
    return any(p.dim() == 3 for p in own) and len({p.shape[0] for p in own}) == 1


def _experts(folder: Folder, name: str, dtype: torch.dtype) -> Callable[[int], torch.Tensor]:
    """Reads one expert of a stack."""

    def place(expert: int) -> torch.Tensor:
        return folder.read(name, np.array([expert]))[0].to(dtype)

    return place


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
