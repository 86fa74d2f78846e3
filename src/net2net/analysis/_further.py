"""Dimensions that axes don't show: rooms above say which there are, such as the experts behind a router."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import nn

from net2net.analysis._dimensions import Dimension
from net2net.capture import Example

Find = Callable[[nn.Module, tuple[Example, ...]], Mapping[str, Dimension]]
_FINDS: list[Find] = []


def lists_dimensions(find: Find) -> Find:
    """Register what finds dimensions of a kind of its own in a network that can run."""
    _FINDS.append(find)
    return find


def further_dimensions(model: nn.Module, examples: tuple[Example, ...]) -> dict[str, Dimension]:
    """What all of them find; nothing in a network whose weights are on the meta device, as that can't run."""
    if any(tensor.is_meta for tensor in model.parameters()):
        return {}
    return {name: dimension for find in _FINDS for name, dimension in find(model, examples).items()}
