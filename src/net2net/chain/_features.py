"""Features of a model while it runs: what modules give, and the model's own output, by path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from net2net.errors import OptionError, UnknownNameError

OUTPUT = "output"
# What is taken from an output with several parts, where none is named.
_USUAL = ("logits", "last_hidden_state", "pooler_output")


class Features:
    """Keeps what each path gave in the last forward pass of a model, and that pass's arguments.

    Raises:
        UnknownNameError: a path leads nowhere.
    """

    def __init__(self, model: nn.Module, paths: Iterable[str]) -> None:
        self.call: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.found: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._begun, with_kwargs=True),
        ]
        for path in paths:
            name, _, part = path.partition(".")
            inside = path if name != OUTPUT else ""
            module = submodule(model, inside)
            self._handles.append(module.register_forward_hook(self._keeping(path, part if name == OUTPUT else "")))

    def _begun(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.call = args, kwargs

    def _keeping(self, path: str, part: str) -> Any:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            self.found[path] = part_of(output, part, path)

        return keep

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()


def submodule(model: nn.Module, path: str) -> nn.Module:
    """The module at a path; numbers may count from the end.

    Raises:
        UnknownNameError: there is none.

    Example:
        >>> submodule(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), "-1")
        ReLU()
    """
    module = model
    for name in filter(None, path.split(".")):
        children = dict(module.named_children())
        if name.removeprefix("-").isdigit() and name not in children and -len(children) <= int(name) < 0:
            name = list(children)[int(name)]
        if name not in children:
            known = ", ".join(list(children)[:10]) or "none"
            raise UnknownNameError(
                f"{type(model).__name__} has no module '{path}': below '{type(module).__name__}' there are {known}. "
                "Name a module's path, or 'output'."
            )
        module = children[name]
    return module


def part_of(output: Any, part: str, path: str) -> Tensor:
    """The tensor that a part of an output is; without a name the usual one.

    Raises:
        OptionError: it is none.
    """
    if isinstance(output, Tensor) and not part:
        return output
    parts: dict[str, Any] = {}
    if hasattr(output, "items"):
        parts = dict(output)
    elif isinstance(output, (tuple, list)):
        parts = {str(i): value for i, value in enumerate(output)}
    tensors = {n: t for n, t in parts.items() if isinstance(t, Tensor) and t.is_floating_point() and t.dim()}
    name = part or next((n for n in _USUAL if n in tensors), next(iter(tensors), ""))
    if name in tensors:
        return tensors[name]
    known = ", ".join(tensors) or "no tensors"
    raise OptionError(f"'{path}' gives no tensor '{name}', but {known}: name one with 'output.NAME'.")


def channels_last(tensor: Tensor, axis: int) -> Tensor:
    """The tensor with its channels on the last axis."""
    return tensor.movedim(axis, -1)


def devices(model: nn.Module) -> list[torch.device]:
    """The accelerators that a model is on."""
    return sorted({p.device for p in model.parameters() if p.device.type not in ("cpu", "meta")}, key=str)
