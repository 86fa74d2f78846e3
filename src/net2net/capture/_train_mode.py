"""Whether train mode runs another function than eval mode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.capture._alike import alike
from net2net.capture._calls import Calls
from net2net.capture._examples import Example
from net2net.capture._kept import kept_tensors
from net2net.capture._modes import prepared
from net2net.capture._quiet import silent
from net2net.capture._record import Stopped, record_effects
from net2net.capture._signature import named_outputs
from net2net.capture._steady import steady
from net2net.capture._structure import structural_copy


@dataclass(frozen=True)
class _Trace:
    """The functions that are called from Python, by the shapes of their results and by what they are called with."""

    shapes: list[Any]
    flow: list[Any]


def with_train_mode(model: nn.Module, examples: Sequence[Example]) -> tuple[Example, ...]:
    """The examples, and those once more in train mode that run other operations there or give something else back.

    What Python calls is looked at first. Where that differs by more than views that nothing reads, recordings say
    whether any of it counts: a shape that is made and not read is called in one mode only, and changes nothing.
    """
    further = []
    for example in examples:
        trained = replace(example, train=True)
        before, after = _trace(model, example), _trace(model, trained)
        if before is None or after is None or before.shapes == after.shapes or before.flow == after.flow:
            continue
        if not _recorded_alike(model, example, trained):
            further.append(trained)
    return (*examples, *further)


def _recorded_alike(model: nn.Module, example: Example, trained: Example) -> bool:
    try:
        return alike(record_effects(model, example), record_effects(model, trained))
    except Stopped:
        return False


def _trace(model: nn.Module, example: Example) -> _Trace | None:
    """What a forward calls, and gives back; None if the model doesn't run."""
    copied = structural_copy(model, lambda _, t: t if isinstance(t, nn.Parameter) else t.detach().clone())
    prepared(copied, example)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (example.args, example.kwargs))
    own = dict(copied.named_parameters()) | dict(copied.named_buffers()) | kept_tensors(copied)
    given = {f"input {k}": leaf for k, leaf in enumerate(pytree.tree_leaves((args, kwargs)))}
    calls = Calls(own | {name: leaf for name, leaf in given.items() if isinstance(leaf, torch.Tensor)})
    try:
        with torch.no_grad(), silent(), steady([device] if device.type == "cuda" else []), calls:
            result = named_outputs(copied(*args, **kwargs))
    except Exception:  # the capture, or the proof, says what is wrong
        return None
    leaves = [(name, leaf) for name, value in result.items() for leaf in pytree.tree_leaves(value)]
    shapes = [(name, tuple(leaf.shape)) for name, leaf in leaves if isinstance(leaf, torch.Tensor)]
    for name, leaf in leaves:
        calls.note(name, leaf)
    return _Trace([*calls.shapes, *shapes, *result], calls.flow)
