"""Methods and modes: which forward an example means, and whether train mode runs another one than eval mode."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from net2net.capture._examples import Example
from net2net.capture._quiet import silent
from net2net.capture._signature import named_outputs
from net2net.capture._steady import steady
from net2net.capture._structure import structural_copy
from net2net.pretrained import has_dynamic_positions, without_caches


def as_called(model: nn.Module, example: Example) -> nn.Module:
    """The model, in the example's mode, with the example's method for its forward. It is changed.

    In train mode torch's own modules stay in eval mode: dropout and batch statistics are all that differs in them.
    """
    model.train(example.train)
    for module in model.modules() if example.train else ():
        own = type(module).__module__.startswith("torch.nn.")
        if own or isinstance(module, (nn.modules.batchnorm._NormBase, nn.modules.dropout._DropoutNd)):
            module.training = False
    if example.method != "forward":
        method = getattr(model, example.method)

        @functools.wraps(method)
        def once(*args: Any, **kwargs: Any) -> Any:
            del model.forward  # the method may call the model
            try:
                return method(*args, **kwargs)
            finally:
                model.forward = once

        model.forward = once
    return model


def prepared(model: nn.Module, example: Example) -> nn.Module:
    """A copy of a model in the state in which it is looked at: as the example calls it, without caches."""
    without_caches(as_called(model, example))
    for module in model.modules():
        if has_dynamic_positions(module):  # they branch on how long the input is
            vars(module)["rope_type"] = "default"
    return model


def with_train_mode(model: nn.Module, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, and those once more in train mode that run other operations there or give something else back."""
    further = []
    for example in examples:
        trained = replace(example, train=True)
        before, after = _trace(model, example), _trace(model, trained)
        if before is not None and after is not None and before != after:
            further.append(trained)
    return (*examples, *further)


def _trace(model: nn.Module, example: Example) -> list[Any] | None:
    """The functions that are called from Python, with the shapes of their results; None if the model doesn't run."""
    copied = structural_copy(model, lambda _, t: t if isinstance(t, nn.Parameter) else t.detach().clone())
    prepared(copied, example)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (example.args, example.kwargs))
    try:
        with torch.no_grad(), silent(), steady([device] if device.type == "cuda" else []), _Calls() as calls:
            result = named_outputs(copied(*args, **kwargs))
    except Exception:  # the capture, or the proof, says what is wrong
        return None
    return [*calls.found, *((name, _shapes(value)) for name, value in result.items())]


def _shapes(result: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(t.shape) for t in pytree.tree_leaves(result) if isinstance(t, torch.Tensor))


class _Calls(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, Any]] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        name = getattr(function, "__name__", str(function))
        if name != "__get__" and "dropout" not in name:
            shapes = _shapes(result)
            if shapes:
                self.found.append((name, shapes))
        return result
