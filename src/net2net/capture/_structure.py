"""Copies of a module tree that share, or replace, its tensors."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from net2net.errors import CaptureError


def structural_copy(model: nn.Module, replace: Callable[[str, torch.Tensor], torch.Tensor] | None = None) -> nn.Module:
    """A copy of the module tree in which every parameter and buffer `t` is `replace(name, t)`.

    With no `replace` the tensors themselves are shared, so the copy costs no memory and its modes and
    attributes can be changed without touching the model. Shared tensors stay shared; hooks and attributes are
    copied as `copy.deepcopy` does.

    Raises:
        CaptureError: the model holds something that can't be copied.
    """
    memo: dict[int, object] = {}
    tensors = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    for name, tensor in tensors:
        if id(tensor) not in memo:
            memo[id(tensor)] = tensor if replace is None else replace(name, tensor)
    for module in model.modules():  # handles refer to hooks weakly, and don't copy
        for value in vars(module).values():
            for handle in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(handle, RemovableHandle):
                    memo[id(handle)] = handle
        if (options := vars(module).get("dynamo_ctx")) is not None:  # of torch.compile, with the user's backend
            memo[id(options)] = options
    try:
        result = copy.deepcopy(model, memo)
    except Exception as error:
        raise CaptureError(
            f"{type(model).__name__} can't be copied: {error}. Remove the attribute that doesn't copy (a lock, a "
            "generator, an open file) before growing, and set it again on the student."
        ) from error
    for module in result.modules():
        if has_dynamic_positions(module):
            _reset_positions(module)
    return result


def has_dynamic_positions(module: nn.Module) -> bool:
    """Whether a module of transformers computes new frequencies (RoPE) for an input longer than any before it."""
    return getattr(module, "rope_type", None) == "dynamic" and hasattr(module, "original_inv_freq")


def _reset_positions(module: Any) -> None:
    """Forget the longest input: a model computes with what it was trained for until it sees a longer one."""
    module.inv_freq = module.original_inv_freq.clone().to(module.inv_freq.device)
    module.max_seq_len_cached = module.original_max_seq_len


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a transformers model with a config."""
    config = getattr(module, "config", None)
    return config is not None and hasattr(config, "to_dict") and hasattr(module, "_init_weights")


def in_pretrained(model: nn.Module, path: str) -> bool:
    """Whether a module is a part of a transformers model, whose class and config say what is in it."""
    parts = path.split(".")
    return any(is_pretrained(model.get_submodule(".".join(parts[:end]))) for end in range(len(parts)))
