"""A refusal for sizes that a class ties together says what has to be asked for together, and that works."""

from __future__ import annotations

import ast
import re

import pytest
import torch
from torch import nn

import net2net


class Distilled(nn.Module):
    """One attribute says where two tensors are split."""

    def __init__(self, d: int = 4, r: int = 12) -> None:
        super().__init__()
        self.d, self.r = d, r
        self.a, self.b = nn.Conv2d(3, d + r, 3, padding=1), nn.Conv2d(r, d + r, 3, padding=1)
        self.c = nn.Conv2d(2 * d + r, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p, q = torch.split(torch.relu(self.a(x)), (self.d, self.r), 1)
        s, t = torch.split(torch.relu(self.b(q)), (self.d, self.r), 1)
        return self.c(torch.cat([p, s, t], 1))


class Encoder(nn.Module):
    """In every layer heads times the size of a head is the stream."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, 2, 11, batch_first=True, dropout=0.0, norm_first=True) for _ in "ab")
        )
        self.start, self.end = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.layers(self.start(x)))


HEAD_SIZES = {"layers.0.self_attn.head_size": 8, "layers.1.self_attn.head_size": 8}
TIED: list[tuple[nn.Module, tuple[int, ...], str, int, dict[str, int]]] = [
    (Distilled(), (1, 3, 6, 6), "a #1", 8, {"b #1": 8}),
    (Distilled(), (1, 3, 6, 6), "b #2", 19, {"a #2": 19}),
    (Encoder(), (2, 3, 4), "residual stream", 16, HEAD_SIZES),
    (Encoder(), (2, 3, 4), "layers.1.self_attn.heads", 3, {"residual stream": 12, "layers.0.self_attn.heads": 3}),
]


@pytest.mark.parametrize("net, shape, name, size, more", TIED, ids=[f"{type(c[0]).__name__}-{c[2]}" for c in TIED])
def test_what_a_refusal_asks_for_works(
    net: nn.Module, shape: tuple[int, ...], name: str, size: int, more: dict[str, int]
) -> None:
    net, x = net.double(), torch.randn(shape, dtype=torch.float64)
    with pytest.raises(net2net.CouplingError) as refusal:
        net2net.widen(net, {name: size}, x)
    found = re.search(r"it works: ask for (\{.*\})", str(refusal.value))
    assert found is not None
    request = ast.literal_eval(found[1])
    assert request == {name: size} | more
    student = net2net.widen(net, request, x).student
    with torch.no_grad():
        y = net(x)
        assert float((student(x) - y).abs().max()) <= 1e-10 * float(y.abs().max())
