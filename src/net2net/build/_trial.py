"""Does a draft's forward run at its sizes? Found out without memory and without an export, in milliseconds."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from net2net.capture import Inputs, as_called, examples_of, plain_operations, without_memory

_LOGGERS = ("torch._subclasses.fake_tensor", "torch.fx.experimental.symbolic_shapes")


@dataclass(frozen=True)
class Failure:
    """Why a draft's forward doesn't run: torch's words, and the path of the module whose forward it was in.

    `steps` counts the operations that ran before; `about_sizes` is False where tensors are on different devices,
    which no size can help.
    """

    reason: str
    module: str
    steps: int = 0
    about_sizes: bool = True

    def __str__(self) -> str:
        return f"{self.reason} (in '{self.module}')" if self.module else self.reason


class Trial:
    """Runs drafts of a student on the example inputs, with tensors that have no memory.

    Where the teacher itself can't run like this (its forward asks for the values of a tensor), a trial has nothing
    to say: a draft's failure is then no matter of its sizes.
    """

    def __init__(self, teacher: nn.Module, inputs: Inputs) -> None:
        self.inputs = inputs
        self.blind = _failure(without_memory(teacher), inputs) is not None

    def failure(self, draft: nn.Module) -> Failure | None:
        """Why a draft doesn't run on one of them; None if it does, or if that can't be said.

        Args:
            draft: a model of `without_memory`. Its forward may leave attributes behind: try a copy.
        """
        return None if self.blind else _failure(draft, self.inputs)


def _failure(draft: nn.Module, inputs: Inputs) -> Failure | None:
    tensors = [*draft.parameters(), *draft.buffers()]
    mode = next((t.fake_mode for t in tensors if isinstance(t, FakeTensor)), None) or FakeTensorMode()
    device = next((t.device for t in draft.parameters()), None)
    modes = {module: module.training for module in draft.modules()}
    paths = {id(module): path for path, module in draft.named_modules()}

    def faked(tensor: torch.Tensor) -> torch.Tensor:
        return mode.from_tensor(tensor.detach() if device is None else tensor.detach().to(device))

    counted = _Counted()  # type: ignore[no-untyped-call]
    try:
        for example in examples_of(inputs):
            args, kwargs = pytree.tree_map_only(torch.Tensor, faked, (example.args, example.kwargs))
            with _mixed(mode), torch.no_grad(), plain_operations(), silent(), counted:
                as_called(draft, example)(*args, **kwargs)
            vars(draft).pop("forward", None)
    except Exception as error:  # whatever a forward says no with
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return Failure(reason[0], _module_of(error.__traceback__, paths), counted.steps, "two devices" not in reason[0])
    finally:
        vars(draft).pop("forward", None)
        for module, training in modes.items():
            module.training = training
    return None


class _Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operations."""

    steps = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.steps += 1
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def _mixed(mode: FakeTensorMode) -> Iterator[None]:
    """Run with fake tensors; plain attributes of modules may be real."""
    before = mode.allow_non_fake_inputs
    mode.allow_non_fake_inputs = True
    try:
        with mode:
            yield
    finally:
        mode.allow_non_fake_inputs = before


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep torch from logging what fails in a trial: failing is what trials are for."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def _module_of(traceback: TracebackType | None, paths: dict[int, str]) -> str:
    """The path of the innermost module in a traceback."""
    found = ""
    while traceback is not None:
        owner: Any = traceback.tb_frame.f_locals.get("self")
        found = paths.get(id(owner), found)
        traceback = traceback.tb_next
    return found
