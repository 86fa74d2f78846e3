"""Floating-point operations: one way to count them, for suggestions, experiments and chains."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from net2net.capture import silent, structural_copy


def counting() -> FlopCounterMode:
    """Count what runs inside the `with`: matrix products, convolutions and attention, a multiplication and an addition
    as two.

    torch leaves out the attention that it uses on the CPU; here it counts as on every other device.

    Example:
        >>> with counting() as counter:
        ...     out = torch.ones(3, 4) @ torch.ones(4, 5)
        >>> counter.get_total_flops()
        120
    """
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return FlopCounterMode(display=False, custom_mapping={attention: _attention, backward: _attention_backward})


def flops_of(model: nn.Module, args: Any, kwargs: Any, *, backward: bool = True) -> int:
    """Floating-point operations of one forward pass, and of the backward pass from all that it gives.

    Nothing is computed: a copy of the model runs on the meta device, so that any size takes no memory. The random state
    and the model stay as they are.

    Args:
        model: in the mode in which it is used; its weights may be on the meta device.
        args, kwargs: of its forward; tensors of the shapes that count, entries don't matter.
        backward: whether gradients of the parameters that require them are counted.

    Returns:
        The number.

    Example:
        >>> flops_of(nn.Linear(4, 5), (torch.ones(3, 4),), {}, backward=False), flops_of(
        ...     nn.Linear(4, 5), (torch.ones(3, 4),), {}
        ... )
        (120, 240)
    """
    with _without_own_hooks(model):
        copy = structural_copy(model, _on_meta)
    args, kwargs = pytree.tree_map_only(torch.Tensor, lambda t: t.to("meta"), (args, kwargs))
    with silent(), torch.set_grad_enabled(backward), counting() as counter:
        found = copy(*args, **kwargs)
        if backward:
            leaves = [t for t in pytree.tree_leaves(_plain(found)) if isinstance(t, torch.Tensor) and t.requires_grad]
            torch.autograd.backward(leaves, [torch.empty_like(t) for t in leaves])
    return int(counter.get_total_flops())


def _on_meta(name: str, tensor: torch.Tensor) -> torch.Tensor:
    new = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new


@contextlib.contextmanager
def _without_own_hooks(model: nn.Module) -> Iterator[None]:
    """The library's own hooks only observe, and hold on to what they have seen: the copy goes without them."""
    taken = []
    for module in model.modules():
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            own = [key for key, hook in hooks.items() if str(getattr(hook, "__module__", "")).startswith("net2net.")]
            taken += [(hooks, key, hooks.pop(key)) for key in own]
    try:
        yield
    finally:
        for hooks, key, hook in taken:
            hooks[key] = hook


def _plain(output: Any) -> Any:
    """A model output of transformers as a dict, which torch can walk through whether or not it is registered."""
    return dict(output) if hasattr(output, "items") else output


def _attention(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]  # torch's has no types


def _attention_backward(grad: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """Two products for each of the forward pass."""
    return 2 * _attention(query, key, value)
