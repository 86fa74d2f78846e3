"""Random chains of layers and stacks of blocks, and random requests to make them deeper.

Everything is drawn from one `random.Random`, as in `random_networks`, and prints as data that can be copied.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from net2net.analysis import Analysis
from net2net.depth import PRESERVING, DepthPlace
from random_networks import Wish, wish
from support import drawn, trained

ACTIVATIONS = {
    "idempotent": (nn.ReLU, nn.ReLU, nn.ReLU6, nn.Hardtanh),
    "mirrored": (nn.GELU, nn.SiLU, nn.Softplus, nn.Hardswish, nn.LeakyReLU, nn.PReLU),
    "neither": (nn.Tanh, nn.ELU, nn.Mish),
}
BLOCKS = ("pre", "post", "bare", "gain", "relu", "none")


def activation(name: str) -> nn.Module:
    """A new activation of torch, by its name."""
    return getattr(nn, name)()


class Block(nn.Module):
    """x + f(x): normed before or after the sum or not at all, with a gain, clipped; or f(x) alone."""

    def __init__(self, width: int, kind: str, act: str, conv: bool) -> None:
        super().__init__()
        self.kind = kind
        norm = nn.BatchNorm2d if conv else nn.LayerNorm
        self.up, self.down = (nn.Conv2d(width, width, 3, padding=1) if conv else nn.Linear(width, width) for _ in "12")
        self.act = activation(act)
        if kind in ("pre", "post", "relu"):
            self.norm = norm(width)
        if kind == "gain":
            self.gain = nn.Parameter(torch.rand(width, 1, 1) if conv else torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.down(self.act(self.up(self.norm(x) if self.kind == "pre" else x)))
        if self.kind == "none":
            return branch
        if self.kind == "gain":
            return x + self.gain * branch
        if self.kind == "post":
            return self.norm(x + branch)
        return torch.relu(x + self.norm(branch)) if self.kind == "relu" else x + branch


@dataclass(frozen=True)
class Part:
    """A layer with a norm and an activation, or (with `count`) a stack of blocks."""

    width: int
    act: str
    norm: bool = False
    bias: bool = True
    kernel: int = 3
    count: int = 0
    kind: str = ""


@dataclass(frozen=True)
class Chain:
    """A network as data."""

    parts: tuple[Part, ...]
    conv: bool

    def build(self) -> nn.Module:
        """The network in float64, with no parameter at its default; the same at every call."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers: list[nn.Module] = []
            width = 3
            for part in self.parts:
                layers += self._layers(part, width)
                width = width if part.count else part.width
            ends = [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if self.conv else []
            return trained(nn.Sequential(*layers, *ends, nn.Linear(width, 3)))

    def _layers(self, part: Part, width: int) -> list[nn.Module]:
        if part.count:
            return [nn.Sequential(*(Block(width, part.kind, part.act, self.conv) for _ in range(part.count)))]
        if self.conv:
            k = part.kernel
            layer: nn.Module = nn.Conv2d(width, part.width, k, padding=k // 2, bias=part.bias)
            norms = [nn.BatchNorm2d(part.width)] if part.norm else []
        else:
            layer = nn.Linear(width, part.width, bias=part.bias)
            norms = [nn.BatchNorm1d(part.width)] if part.norm else []
        return [layer, *norms, activation(part.act)]

    def inputs(self, seed: int = 0) -> Tensor:
        """Random inputs."""
        return drawn(*((4, 3, 5, 4) if self.conv else (6, 3)), seed=seed)


@dataclass(frozen=True)
class Depth:
    """A request: every place by a factor, or places by their number, with how many or which positions."""

    factor: str | None
    picks: tuple[tuple[int, Any], ...]
    init: str
    positions: str | None
    seed: int

    def where(self, analysis: Analysis) -> dict[str, Any]:
        """The places to ask for, where there is no factor for all; none if the network has none."""
        places = list(analysis.places.values())
        chosen = [(places[number % len(places)], depth) for number, depth in self.picks if places]
        return {place.name: _depth(place, depth) for place, depth in chosen}

    @property
    def options(self) -> dict[str, Any]:
        """The other arguments of `net2net.deepen`."""
        return {"init": self.init, "positions": self.positions, "seed": self.seed}


def _depth(place: DepthPlace, wanted: Any) -> Any:
    """Positions fit the stack; a layer has none, only a number."""
    if not isinstance(wanted, tuple):
        return wanted
    return [p % (place.count + 1) - 1 for p in wanted] if place.kind == "blocks" else len(wanted)


def _part(draw: random.Random) -> Part:
    names = ACTIVATIONS[draw.choice(["idempotent", "idempotent", "mirrored", "mirrored", "neither"])]
    act = draw.choice(names).__name__
    if draw.random() < 0.4:
        return Part(0, act, count=draw.randint(1, 3), kind=draw.choice(BLOCKS))
    return Part(draw.randint(1, 6), act, draw.random() < 0.4, draw.random() < 0.7, draw.choice([1, 2, 3]))


def case(draw: random.Random) -> tuple[Chain, Depth, Wish]:
    """A random network, a random request to deepen it, and one to widen the result."""
    chain = Chain(tuple(_part(draw) for _ in range(draw.randint(1, 3))), draw.random() < 0.4)
    several = (draw.randint(0, 5), draw.randint(0, 5))
    init = draw.choice(["identity"] * 8 + ["zero-random"] * 3 + ["stack", "interleave", "middle", "random"])
    free = init in (*PRESERVING, "random")  # the others have positions of their own
    depths = [1, 1, 2, "2x", several[:1], several]
    depth = Depth(
        draw.choice([None, None, None, "2x", "1.5x"]),
        tuple((draw.randint(0, 11), draw.choice(depths)) for _ in range(draw.randint(1, 2))),
        init,
        draw.choice([None, None, None, "append", "before_last", "spread"]) if free else None,
        draw.randint(0, 3),
    )
    return chain, depth, wish(draw)


def cases() -> st.SearchStrategy[tuple[Chain, Depth, Wish]]:
    """Random networks with random requests."""
    return st.randoms(use_true_random=False).map(case)
