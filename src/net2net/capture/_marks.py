"""What hangs on a tensor beside its numbers: a user's attributes, hooks on its gradient, the order of its memory."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor

from net2net.capture._held import hooks_of, marks_of, reached


def carry(old: torch.Tensor, new: torch.Tensor, memo: dict[int, Any]) -> None:
    """Hang on a tensor what hangs on the one that it stands for, but for what has the old one's shape.

    Args:
        memo: of `copy.deepcopy`: what stands for what in the copy.
    """
    odd = {key for key, _ in lost(old, tuple(new.shape))}
    for name, value in marks_of(old).items():
        if name not in odd and not hasattr(new, name):
            setattr(new, name, copy.deepcopy(value, memo))
    for kind, hooks in hooks_of(old).items():
        kept = memo.setdefault(id(hooks), OrderedDict())
        kept.update((key, copy.deepcopy(hook, memo)) for key, hook in hooks.items() if key not in odd)
        setattr(new, kind, kept)
    order = _order(old)
    if order is not None and new.dim() == len(order) and not isinstance(new, FakeTensor) and _order(new) != order:
        with torch.no_grad():
            new.data = torch.empty_permuted(new.shape, order, dtype=new.dtype, device=new.device).copy_(new.detach())


def lost(old: torch.Tensor, shape: tuple[int, ...]) -> Iterator[tuple[str | int, str]]:
    """What can't be carried to a tensor of this shape: attributes and hooks that hold a tensor of the old shape."""
    if shape == tuple(old.shape):
        return
    hanging: list[tuple[str | int, str, Any]] = [(n, f"the attribute '{n}'", v) for n, v in marks_of(old).items()]
    hanging += [(key, "a hook", hook) for hooks in hooks_of(old).values() for key, hook in hooks.items()]
    for key, what, value in hanging:
        if any(isinstance(v, torch.Tensor) and v is not old and v.shape == old.shape for _, v in reached(value)):
            yield key, what


def _order(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """The axes from the slowest to the fastest; None where that says nothing, as for a tensor that overlaps itself."""
    if tensor.layout != torch.strided or tensor.dim() < 2 or 0 in tensor.stride():
        return None
    strides: tuple[int, ...] = tensor.stride()
    return tuple(sorted(range(tensor.dim()), key=lambda axis: -strides[axis]))
