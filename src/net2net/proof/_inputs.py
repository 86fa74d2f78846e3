"""The inputs that models are compared on: those given, and random ones like them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils import _pytree as pytree

from net2net.capture import Example

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
Variant = tuple[str, Arguments]


def move(example: Example, dtype: torch.dtype, device: torch.device) -> Arguments:
    """The arguments on a device; floating-point tensors in another dtype."""

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(device, dtype if tensor.is_floating_point() else tensor.dtype)

    result: Arguments = pytree.tree_map_only(torch.Tensor, moved, (example.args, example.kwargs))
    return result


def variants(given: Arguments) -> Iterator[Variant]:
    """The arguments given, then others: constant ones would hide a wrong mapping.

    "random" ones lie between the least and the largest of those given, entry by entry where there are several rows;
    "normal" ones are drawn from a normal distribution, which a forward may refuse. After the first of each there are
    more, without end.
    """
    yield "given", given
    generator = torch.Generator().manual_seed(0)
    keep = {k for k in given[1] if "mask" in k}
    floating = any(isinstance(t, torch.Tensor) and t.is_floating_point() for t in pytree.tree_leaves(given))
    while True:
        for label in ("random", "normal") if floating else ("random",):

            def drawn(tensor: torch.Tensor, label: str = label) -> torch.Tensor:
                return _like(tensor.cpu(), generator, label).to(tensor.device)

            args, kwargs = pytree.tree_map_only(torch.Tensor, drawn, given)
            yield label, (args, {k: given[1][k] if k in keep else v for k, v in kwargs.items()})


def _like(tensor: torch.Tensor, generator: torch.Generator, label: str) -> torch.Tensor:
    if tensor.layout is not torch.strided or tensor.numel() == 0 or tensor.dtype == torch.bool or tensor.is_complex():
        return tensor
    if not tensor.is_floating_point():
        low, high = int(tensor.min()), int(tensor.max())
        return torch.randint(low, high + 1, tensor.shape, generator=generator, dtype=tensor.dtype)
    if not tensor.isfinite().all():  # a mask
        return tensor
    normal = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
    least, largest = tensor.min(), tensor.max()
    if label == "normal" or least == largest:
        return normal
    if tensor.dim() and len(tensor) > 1:
        columns = tensor.amin(0), tensor.amax(0)
        if bool((columns[0] < columns[1]).any()):
            least, largest = columns
    part = torch.rand(tensor.shape, generator=generator, dtype=torch.float64).to(tensor.dtype)
    return least + part * (largest - least)
