"""A sharded network as it was before it was sharded, without memory for its parameters."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.distributed._composable.contract import REGISTRY_KEY, STATE_KEY
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor

# What `fully_shard` and `parallelize_module` leave in a module.
_OF_SHARDING = {
    REGISTRY_KEY,
    STATE_KEY,
    "_is_fsdp_managed_module",
    "_fsdp_use_orig_params",
    "_distribute_module_applied",
}


def bare(model: nn.Module) -> nn.Module:
    """A copy of the module tree with plain parameters of full shape on the meta device, for planning.

    Neither the classes nor the hooks of FSDP2 and of tensor parallelism are in it. Buffers keep their values.
    """
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        empty = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = whole(buffer).clone()
    copies = [(module, _of_class(module)) for module in model.modules()]
    memo |= {id(module): new for module, new in copies}
    for module, new in copies:
        for key, value in vars(module).items():
            if key not in _OF_SHARDING:
                kept = _own_hooks(value) if key.endswith(("_hooks", "_pre_hooks")) else value
                vars(new)[key] = copy.deepcopy(kept, memo)
    return memo[id(model)]  # type: ignore[no-any-return]  # a memo holds anything


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor; of a sharded one every rank of its mesh asks at the same time."""
    tensor = tensor.detach()
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _of_class(module: nn.Module) -> nn.Module:
    """An empty module of the class that a module had before it was sharded."""
    cls: Any = type(module)
    if isinstance(module, FSDPModule):
        cls = cls.__mro__[cls._orig_cls_mro_index]
    return cls.__new__(cls)  # type: ignore[no-any-return]  # of a class that torch has put together


def _own_hooks(hooks: Any) -> Any:
    """The hooks that torch.distributed hasn't put there."""
    if not isinstance(hooks, dict):
        return hooks
    others = {k: h for k, h in hooks.items() if not str(getattr(h, "__module__", "")).startswith("torch.distributed")}
    return type(hooks)(others)
