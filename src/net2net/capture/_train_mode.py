"""Whether train mode runs another function than eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from net2net.capture._alike import alike
from net2net.capture._examples import Example
from net2net.capture._modes import prepared
from net2net.capture._quiet import silent
from net2net.capture._record import Stopped, record_effects
from net2net.capture._signature import named_outputs
from net2net.capture._steady import steady
from net2net.capture._structure import structural_copy


def with_train_mode(model: nn.Module, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, and those once more in train mode that run other operations there or give something else back.

    What Python calls is looked at first. Where that differs, recordings say whether any of it counts: a shape that is
    made and not read is called in one mode only, and changes nothing.
    """
    further = []
    for example in examples:
        trained = replace(example, train=True)
        before, after = _trace(model, example), _trace(model, trained)
        if (
            before is not None
            and after is not None
            and before != after
            and not _recorded_alike(model, example, trained)
        ):
            further.append(trained)
    return (*examples, *further)


def _recorded_alike(model: nn.Module, example: Example, trained: Example) -> bool:
    try:
        return alike(record_effects(model, example), record_effects(model, trained))
    except Stopped:
        return False


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
