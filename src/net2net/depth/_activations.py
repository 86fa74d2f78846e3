"""What an activation allows: measured on numbers, so that any activation will do, torch's own or the user's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from net2net.axes import base_name
from net2net.capture import Node, Value

Function = Callable[[torch.Tensor], torch.Tensor]

# torch's modules for activations that a forward calls as functions, with the arguments that they share
_MODULES: dict[str, tuple[type[nn.Module], tuple[str, ...]]] = {
    "aten.relu": (nn.ReLU, ()),
    "aten.relu6": (nn.ReLU6, ()),
    "aten.gelu": (nn.GELU, ("approximate",)),
    "aten.silu": (nn.SiLU, ()),
    "aten.softplus": (nn.Softplus, ("beta", "threshold")),
    "aten.hardswish": (nn.Hardswish, ()),
    "aten.leaky_relu": (nn.LeakyReLU, ("negative_slope",)),
    "aten.hardtanh": (nn.Hardtanh, ("min_val", "max_val")),
}


def operation(node: Node) -> Function:
    """The pointwise operation of a node with one tensor argument, as a function of that argument."""
    tensor = next(n for n, a in node.arguments.items() if isinstance(a, Value))
    others = {n: a for n, a in node.arguments.items() if n != tensor}
    target = getattr(torch.ops.aten, base_name(node.op).removeprefix("aten."), node.target)
    return lambda x: target(x, **others)


def is_idempotent(activation: Function) -> bool:
    """Whether applying it twice is applying it once: then an identity layer can follow it."""
    x = _numbers()
    once = activation(x)
    return bool(torch.equal(activation(once), once))


def acts_on_numbers(activation: Function) -> bool:
    """Whether it is a function of each number by itself, as far as can be seen: shape and order stay."""
    x = _numbers()
    try:
        result = activation(x)
        return result.shape == x.shape and torch.allclose(activation(x.flip(0)).flip(0), result, rtol=1e-12)
    except Exception:  # a pooling, a normalisation, whatever needs another shape
        return False


def odd_slope(activation: Function) -> float | None:
    """The s for which f(x) - f(-x) = s x, if there is one: then a mirrored pair of units gives x back.

    Source: net2net's own construction; true of GELU, SiLU, softplus, hardswish, ReLU and leaky ReLU.
    """
    x = _numbers()
    difference = activation(x) - activation(-x)
    slope = float(difference[-1] / x[-1])
    close = bool(((difference - slope * x).abs() <= 1e-11 * x.abs().clamp(min=1)).all())
    return slope if close and abs(slope) > 1e-3 else None


def as_module(node: Node) -> nn.Module | None:
    """A torch module that computes what the node's activation computes, if there is one."""
    found = _MODULES.get(base_name(node.op))
    if found is None:
        return None
    make, names = found
    return partial(make, **{n: node[n] for n in names if n in node.arguments})()


def _numbers() -> torch.Tensor:
    """Numbers of both signs, near 0 and far from it, the largest last."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(512, generator=generator, dtype=torch.float64) * 3
    return torch.cat([drawn, torch.tensor([0.0, 1e-6, -1e-6, 25.0, -25.0, 7.0, -7.0, 19.0], dtype=torch.float64)])
