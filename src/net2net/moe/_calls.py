"""What modules are given and what they give back while a network runs: the calls of one pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from net2net.capture import Inputs, as_called, examples_of, silent, structural_copy
from net2net.errors import CaptureError


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    result: Any

    @property
    def given(self) -> dict[int | str, torch.Tensor]:
        """The tensors among its arguments, by position or keyword."""
        named: Iterable[tuple[int | str, Any]] = [*enumerate(self.args), *self.kwargs.items()]
        return {key: value for key, value in named if isinstance(value, torch.Tensor)}

    @property
    def results(self) -> list[torch.Tensor]:
        """The tensors that it gave back."""
        return [t for t in pytree.tree_leaves(self.result) if isinstance(t, torch.Tensor)]


Calls = dict[str, list[Call]]


@contextlib.contextmanager
def recorded(model: nn.Module, wanted: Callable[[str, nn.Module], bool]) -> Iterator[Calls]:
    """The calls of those modules of a network that are wanted, by path, while the context is open.

    Tensors are kept as they were at the call: a module may change its arguments in place.
    """
    found: Calls = {}
    handles = []

    def watch(path: str, module: nn.Module) -> None:
        before: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

        def start(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            before.append(pytree.tree_map_only(torch.Tensor, lambda t: t.detach().clone(), (args, kwargs)))

        def end(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
            args, kwargs = before.pop()
            found.setdefault(path, []).append(Call(args, kwargs, result))

        handles.append(module.register_forward_pre_hook(start, with_kwargs=True))
        handles.append(module.register_forward_hook(end, with_kwargs=True))

    try:
        for path, module in model.named_modules():
            if wanted(path, module):
                watch(path, module)
        yield found
    finally:
        for handle in handles:
            handle.remove()


class Float32Seen(TorchFunctionMode):
    """Whether functions that are called while it is on give tensors of float32: a gate of a float64 network may."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.found |= isinstance(result, torch.Tensor) and result.dtype == torch.float32
        return result


@silent()
def calls_of(model: nn.Module, inputs: Inputs, wanted: Callable[[str, nn.Module], bool]) -> tuple[Calls, bool]:
    """The calls of the wanted modules on the example inputs, in eval mode, and whether float32 was computed with.

    The model is not changed.

    Raises:
        CaptureError: it doesn't run on them.
    """
    copied = structural_copy(model, lambda _, t: t if isinstance(t, nn.Parameter) else t.detach().clone())
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with recorded(copied, wanted) as found, torch.no_grad(), Float32Seen() as seen:
        for example in examples_of(inputs):
            args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(device), (example.args, example.kwargs))
            try:
                as_called(copied, example)(*args, **kwargs)
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise CaptureError(f"{type(model).__name__} doesn't run on the example inputs: {reason}") from error
    return found, seen.found
