"""The functions that a forward calls from Python: what they are called with, and which of them nothing comes of."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

# They write nothing and draw nothing.
_VIEWS = ("squeeze", "unsqueeze", "view", "reshape", "flatten", "transpose", "permute", "t", "expand")


class Calls(TorchFunctionMode):
    """Lists the calls under it, dropout aside.

    `shapes` has the name of each and the shapes of its results. `flow` has all but views that die before anything has
    read them, with what each is called with: a number as it is written, a tensor by its name or by the call that made
    it. Of a tensor of unknown origin it is an object that equals no other.
    """

    def __init__(self, own: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.shapes: list[tuple[str, Any]] = []
        self._flow: dict[int, tuple[str, list[Any]]] = {}
        self._origins: dict[int, Any] = {id(tensor): name for name, tensor in own.items()}
        self._kept: list[Any] = [*own.values()]  # so that no other tensor has their ids; then what watches others
        self._unread: dict[int, int] = {}  # views that nothing has read, by id: the call that made each
        self._count = 0

    @property
    def flow(self) -> list[Any]:
        """The calls that count, numbered anew."""
        numbers = {call: k for k, call in enumerate(self._flow)}
        return [
            (name, [(numbers[a.call], a.place) if isinstance(a, _Made) else a for a in arguments])
            for name, arguments in self._flow.values()
        ]

    def note(self, name: str, value: Any) -> None:
        """List something that the forward gives back."""
        self._count += 1
        self._flow[self._count] = name, [self._origin(value)]

    def _origin(self, value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return repr(value)
        self._unread.pop(id(value), None)
        return self._origins.get(id(value), object())

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        leaves, tree = pytree.tree_flatten((args, kwargs))
        arguments = [*map(self._origin, leaves), repr(tree)]
        result = function(*args, **kwargs)
        name = getattr(function, "__name__", str(function))
        tensors = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        if "dropout" in name or not tensors:
            return result
        if name != "__get__":
            self.shapes.append((name, tuple(tuple(t.shape) for t in tensors)))
        self._count += 1
        self._flow[self._count] = str(function), [*arguments, *(tuple(t.shape) for t in tensors)]
        unread = name in _VIEWS and not any(result is given for given in args)
        for place, tensor in enumerate(tensors):
            self._origins[id(tensor)] = _Made(self._count, place)
            self._watch(tensor, self._count if unread else None)
        return result

    def _watch(self, tensor: torch.Tensor, unread: int | None) -> None:
        """Forget a tensor that dies: another one may get its id."""
        key, made = id(tensor), self._origins[id(tensor)]
        if unread is not None:
            self._unread[key] = unread

        def died(_: Any) -> None:
            if self._origins.get(key) is made:
                del self._origins[key]
                self._flow.pop(self._unread.pop(key, 0), None)

        self._kept.append(weakref.ref(tensor, died))


class _Made:
    """A result of a call."""

    def __init__(self, call: int, place: int) -> None:
        self.call, self.place = call, place
