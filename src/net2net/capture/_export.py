"""Capture with `torch.export`, on a copy that shares the model's tensors."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.capture._examples import Example, Inputs, examples_of
from net2net.capture._fake import without_memory
from net2net.capture._graph import Graph, Value
from net2net.capture._kept import entries_of, kept_tensors
from net2net.capture._lean import lean_tracing
from net2net.capture._merge import merged
from net2net.capture._modes import prepared
from net2net.capture._plain import plain_operations
from net2net.capture._quiet import silent
from net2net.capture._reader import read
from net2net.capture._reasons import refusal, refuse_unfit
from net2net.capture._signature import taken_apart
from net2net.capture._steady import DropoutOff
from net2net.capture._structure import structural_copy


def capture(model: nn.Module, inputs: Inputs) -> Graph:
    """The graph of `model` on `inputs`, in eval mode: of several examples, one after the other, on the same state.
    The model may be on the meta device.

    Raises:
        CaptureError: `torch.export` refuses the model; the message has its reason and the ways out.
    """
    examples, state = examples_of(inputs), dict[str, Value]()
    return merged(examples, [_captured(model, example, state) for example in examples])


def _captured(model: nn.Module, example: Example, state: dict[str, Value]) -> Graph:
    """The graph of one example. `state` has the parameters and buffers of the examples before, and gets this one's."""
    args, kwargs = example.args, example.kwargs
    refuse_unfit(model)
    teacher, without_weights = model, any(p.device.type == "meta" for p in model.parameters())
    model = prepared(without_memory(model) if without_weights else structural_copy(model), example)
    ties = _ties(model)
    held = {**dict(model.named_parameters()), **dict(model.named_buffers()), **kept_tensors(model)}
    device = next((tensor.device for tensor in model.parameters()), None)
    if device is not None:
        args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (args, kwargs))
    try:
        program = _exported(model, args, kwargs, example)
    except Exception as error:
        raise refusal(teacher, example, model, error) from error
    return read(program, ties, state, {entries_of(t): name for name, t in held.items()})


def _exported(model: nn.Module, args: Any, kwargs: Any, example: Example) -> torch.export.ExportedProgram:
    with torch.no_grad(), plain_operations(), without_dropout(example), silent(), lean_tracing():
        try:
            return torch.export.export(model, args, kwargs, strict=False)
        except RuntimeError as error:
            if "in output, which is not a known type" not in str(error):
                raise
            forward = model.forward

            @functools.wraps(forward)
            def opened(*args: Any, **kwargs: Any) -> Any:
                return taken_apart(forward(*args, **kwargs))

            model.forward = opened
            return torch.export.export(model, args, kwargs, strict=False)


def without_dropout(example: Example) -> contextlib.AbstractContextManager[object]:
    return DropoutOff() if example.train else contextlib.nullcontext()


def _ties(model: nn.Module) -> dict[str, str]:
    first: dict[int, str] = {}
    ties = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if first.setdefault(id(tensor), name) != name:
            ties[name] = first[id(tensor)]
    return ties
