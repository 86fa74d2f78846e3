"""Copies of a module tree that share, or replace, its tensors."""

from __future__ import annotations

import copy
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from net2net.capture._held import close, hooks_of, reached, replacements
from net2net.capture._marks import carry
from net2net.errors import CaptureError
from net2net.pretrained import has_dynamic_positions, reset_positions


def structural_copy(
    model: nn.Module,
    replace: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
    others: Mapping[int, torch.Tensor] = MappingProxyType({}),
) -> nn.Module:
    """A copy of the module tree in which every parameter and buffer `t` is `replace(name, t)`.

    `others` has what stands for tensors that are neither, by identity. With no `replace` the tensors themselves are
    shared, so the copy costs no memory and its modes and attributes can be changed without touching the model. Shared
    tensors stay shared. Hooks and attributes are copied as `copy.deepcopy` does, and functions that reach the model
    reach the copy. Tensors that hang on a graph are detached, optimizers have no state, and locks, files, data loaders
    and the like are the same in the copy.

    Raises:
        CaptureError: the model holds something that can't be copied.
    """
    memo: dict[int, Any] = dict(others)
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor if replace is None else replace(name, tensor)
    found, functions = replacements(model, memo)
    memo |= found
    pairs = [(t, memo[id(t)]) for t in {id(t): t for _, t in tensors}.values() if memo[id(t)] is not t]
    for old, _ in pairs:  # handles on the model are of these hooks
        memo |= {id(hooks): OrderedDict() for hooks in hooks_of(old).values()}
    before = dict(memo)
    try:
        result = copy.deepcopy(model, memo)
        for function in functions:
            close(function, memo)
        for old, new in pairs:
            carry(old, new, memo)
    except Exception as error:
        raise CaptureError(_refusal(model, before, error)) from error
    for module in model.modules():
        for name, value in vars(module).items():
            if isinstance(value, weakref.ref) and id(value()) in memo:
                vars(memo[id(module)])[name] = weakref.ref(memo[id(value())])
    for module in result.modules():
        if has_dynamic_positions(module):
            reset_positions(module)
    return result


def _refusal(model: nn.Module, memo: dict[int, Any], error: Exception) -> str:
    """What of a model can't be copied: the innermost thing, by where it is."""
    modules = {id(module): module for module in model.modules()}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if name in ("_parameters", "_buffers", "_modules") or _copies(value, modules | memo):
                continue
            step, odd = [(s, v) for s, v in reached(value, functions=False) if not _copies(v, modules | memo)][-1]
            place = f"{path}.{name}{step}" if path else f"{name}{step}"
            owner = f"'{path}'" if path else "the model"
            return (
                f"'{place}' of {type(model).__name__} can't be copied: it is a {type(odd).__name__}, "
                f"and {str(error).splitlines()[0] if str(error) else type(error).__name__}. "
                f"Set '{name}' of {owner} to None before growing, and set it on the "
                "student afterwards; or give its class a __deepcopy__."
            )
    return f"{type(model).__name__} can't be copied: {error}."


def _copies(value: Any, memo: dict[int, Any]) -> bool:
    try:
        copy.deepcopy(value, dict(memo))
    except Exception:
        return False
    return True
