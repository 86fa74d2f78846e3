"""One forward of a copy, with randomness off."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import nn

from net2net.capture import named_outputs, steady
from net2net.proof._choices import Choices
from net2net.proof._inputs import Arguments
from net2net.proof._models import device_of


class ForwardError(Exception):
    """A forward failed: where, and why."""


class Seen:
    """What forwards did so far: whether they drew random numbers, whether they chose by values, and how much work one
    of them is."""

    def __init__(self) -> None:
        self.drawn: set[str] = set()  # the modes
        self.chooses = False
        self.work = 0


def run(model: nn.Module, method: str, given: Arguments, mode: str, seen: Seen | None = None) -> dict[str, Any]:
    """The outputs by name.

    Raises:
        ForwardError: the model doesn't run.
    """
    model.train(mode == "train")
    devices = [device_of(model)] if device_of(model).type == "cuda" else []
    choices = Choices(given) if seen is not None and not seen.chooses else None
    with torch.no_grad(), steady(devices) as found, choices or contextlib.nullcontext():
        try:
            result = named_outputs(getattr(model, method)(*given[0], **given[1]))
        except Exception as error:
            raise ForwardError(f"{_where(model, method, given)}{_line(error)}") from error
    if seen is not None:
        if choices is not None:
            seen.chooses, seen.work = choices.found, choices.work
        if found.drawn:
            seen.drawn.add(mode)
    return result


def _where(model: nn.Module, method: str, given: Arguments) -> str:
    """The innermost module that a failing forward is in: it runs once more."""
    inside: list[str] = []
    handles = []
    for path, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(lambda *_, path=path: inside.append(path)))
        handles.append(module.register_forward_hook(lambda *_: inside.pop() and None))
    try:
        getattr(model, method)(*given[0], **given[1])
    except Exception:
        path = inside[-1] if inside else ""
        return f"'{path}' ({type(model.get_submodule(path)).__name__}): " if path else f"'{method}': "
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
