"""How much computing a model does while others use it: its forward passes, by the shapes that they were called with."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.errors import warn
from net2net.training import flops_of


class Meter:
    """Counts the forward passes of a model, those with gradients and those without.

    What a pass takes is counted once for each set of shapes, by `flops_of`, so that no training step is slowed down. A
    pass with gradients counts with its backward pass.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._passes: dict[str, int] = {}
        self._flops: dict[str, int] = {}
        self._calls: dict[str, tuple[Any, Any]] = {}
        self._handle = model.register_forward_pre_hook(self._begun, with_kwargs=True)

    def _begun(self, model: nn.Module, args: Any, kwargs: Any) -> None:
        key = f"{'with' if torch.is_grad_enabled() else 'without'} gradients, {_shapes((args, kwargs))}"
        self._passes[key] = self._passes.get(key, 0) + 1
        if key not in self._calls:
            self._calls[key] = pytree.tree_map_only(torch.Tensor, _without_entries, (args, kwargs))

    def passes(self, gradients: bool) -> int:
        """Forward passes so far."""
        return sum(count for key, count in self._passes.items() if _with(key) == gradients)

    def flops(self, gradients: bool) -> int:
        """What they took."""
        self._count()
        return sum(count * self._flops[key] for key, count in self._passes.items() if _with(key) == gradients)

    def _count(self) -> None:
        for key in self._passes.keys() - self._flops.keys():
            try:
                self._flops[key] = flops_of(self.model, *self._calls[key], backward=_with(key))
            except Exception as error:  # a run of hours must not fail for its bookkeeping
                warn(f"the FLOPs of {type(self.model).__name__} can't be counted, and are taken as 0: {error}")
                self._flops[key] = 0

    def state_dict(self) -> dict[str, dict[str, int]]:
        """What a run that was stopped needs to go on."""
        self._count()
        return {"passes": dict(self._passes), "flops": dict(self._flops)}

    def load_state_dict(self, state: dict[str, dict[str, int]]) -> None:
        """Go on from where `state_dict` was taken."""
        self._passes, self._flops = dict(state["passes"]), dict(state["flops"])

    def close(self) -> None:
        """Take the hook off."""
        self._handle.remove()


def _with(key: str) -> bool:
    return key.startswith("with ")


def _without_entries(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, device="meta")


def _shapes(call: Any) -> str:
    leaves, tree = pytree.tree_flatten(call)
    words = [f"{tuple(x.shape)} {x.dtype}" if isinstance(x, torch.Tensor) else type(x).__name__ for x in leaves]
    return f"{words} {tree}"
