"""Random networks with branches: some run in training only, some with another argument, some never; their sizes and
the numbers that their modules keep are drawn from a few values, so that they often are the same."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

SIZES = (3, 4, 6, 8)
# What users keep on modules: widths, windows and patience, and rates that are powers of a width.
NUMBERS = (3, 4, 6, 8, 12, 16, 4**-0.5, 8**-0.5, 1 / 8, 0.25, 1 / 3)


class Layer(nn.Module):
    """A layer written by hand: its sizes are attributes that its forward may read."""

    def __init__(self, inputs: int, outputs: int, order: str) -> None:
        super().__init__()
        self.i, self.o, self.order = inputs, outputs, order
        self.weight, self.bias = (
            nn.Parameter(torch.randn(outputs, inputs) / inputs**0.5),
            nn.Parameter(torch.randn(outputs)),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.order == "weight first":
            return torch.einsum("oi,bi->bo", self.weight, x) + self.bias
        if self.order == "by attributes":
            return (x.reshape(-1, self.i) @ self.weight.reshape(self.o, self.i).t() + self.bias).reshape(-1, self.o)
        return (x[:, None] * self.weight).sum(-1) + self.bias


class Block(nn.Module):
    """A residual block that may divide by a number of its own, or by one that it computes from a width."""

    def __init__(self, width: int, hidden: int, scale: str, number: float) -> None:
        super().__init__()
        self.width, self.scale, self.number = width, scale, number
        self.inner, self.outer = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.inner(x))
        if self.scale == "kept":
            h = h / self.number
        elif self.scale == "computed":
            h = h / h.shape[-1] ** 0.5
        return x + self.outer(h)


def _layer(draw: random.Random, inputs: int, outputs: int) -> nn.Module:
    kind = draw.choice(["linear", "linear", "weight first", "by attributes", "sum of a product"])
    return nn.Linear(inputs, outputs) if kind == "linear" else Layer(inputs, outputs, kind)


def _body(draw: random.Random, inputs: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = []
    width = inputs
    for _ in range(draw.randint(1, 4)):
        kind = draw.choice(["layer", "layer", "block", "norm", "dropout"])
        if kind == "layer":
            after = draw.choice(SIZES)
            layers += [_layer(draw, width, after), draw.choice([nn.ReLU, nn.Tanh, nn.GELU])()]
            width = after
        elif kind == "block":
            scale, number = draw.choice(["none", "kept", "computed"]), draw.choice(NUMBERS)
            layers.append(Block(width, draw.choice(SIZES), scale, number))
        elif kind == "norm":
            layers.append(draw.choice([nn.BatchNorm1d, nn.LayerNorm])(width))
        else:
            layers.append(nn.Dropout(0.25))
    return nn.Sequential(*layers), width


class Net(nn.Module):
    """A body, a head, and more heads that run in training, when they are asked for, or not at all."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__()
        self.inputs = draw.choice(SIZES)
        self.body, width = _body(draw, self.inputs)
        self.hidden = draw.choice(SIZES)
        self.neck = _layer(draw, width, self.hidden)
        self.head = _layer(draw, self.hidden, draw.choice(SIZES))
        for name in ("lr", "patience", "window", "momentum"):
            setattr(self, name, draw.choice(NUMBERS))
        self.in_training = draw.choice(["nothing", "nothing", "head", "penalty"])
        if self.in_training == "head":
            self.aux = _layer(draw, self.hidden, draw.choice(SIZES))
        self.asked = draw.choice(["nothing", "nothing", "head", "window"])
        if self.asked == "head":
            self.other = _layer(draw, self.hidden, draw.choice(SIZES))
        if draw.random() < 0.2:
            self.never = nn.Linear(draw.choice(SIZES), draw.choice(SIZES))

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.neck(self.body(x)))

    def forward(self, x: Tensor, ask: bool = False) -> Any:
        z = self.features(x)
        if ask and self.asked == "head":
            return self.other(z)
        y = self.head(z)
        if ask and self.asked == "window":
            y = y + y[:, : int(self.patience)].sum(1, keepdim=True)
        if self.training and self.in_training == "head":
            return y, self.aux(z)
        if self.training and self.in_training == "penalty":
            return y, z.square().sum(1)
        return y


@dataclass(frozen=True)
class Case:
    """A network, what is asked of it, and with which examples."""

    net: Net
    examples: Any
    operation: str
    request: Any
    options: dict[str, Any] = field(default_factory=dict)


def case(seed: int) -> Case:
    """A case for each seed."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    net = Net(draw).double()
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            if tensor.dim() == 1 and tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * 0.3)
    net.eval()
    x = torch.randn(7, net.inputs, dtype=torch.float64)
    examples = [x, (x, True)] if draw.random() < 0.5 else x
    operation = draw.choice(["widen", "widen", "widen", "deepen"])
    names = [name for name, m in net.named_modules() if isinstance(m, (nn.Linear, Layer)) and name != "head"]
    picked = draw.choice(names)
    size = net.get_submodule(picked).weight.shape[0]  # type: ignore[union-attr,index]
    if operation == "deepen":
        return Case(net, examples, operation, "2x" if draw.random() < 0.5 else {picked: 1})
    how = draw.choice([None, None, "split", "zero_out", "pair"])
    request = draw.choice([2.0, 1.5, {picked: 2 * size}, {picked: size + 1}, {picked: 3 * size}])
    return Case(net, examples, operation, request, {"how": how})
