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


class Heads(nn.Module):
    """Queries, keys and values are cut into heads by one number."""

    def __init__(self, width: int = 8, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.qk, self.v, self.out = nn.Linear(width, 2 * width), nn.Linear(width, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = (t.view(*t.shape[:-1], self.heads, -1).transpose(1, 2) for t in self.qk(x).chunk(2, -1))
        v = self.v(x).view(*x.shape[:-1], self.heads, -1).transpose(1, 2)
        y = (q @ k.mT).softmax(-1) @ v
        return self.out(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("net, x", [(Distilled(), torch.randn(1, 3, 6, 6)), (Heads(), torch.randn(2, 5, 8))])
def test_what_a_refusal_asks_for_works(net: nn.Module, x: torch.Tensor) -> None:
    net, x = net.double(), x.double()
    tied = 0
    for dimension in net2net.analyze(net, x).growable():
        try:
            net2net.widen(net, {dimension.name: "2x"}, x)
        except net2net.CouplingError as refusal:
            found = re.search(r"it works: ask for (\{.*\})", str(refusal))
            if found is None:
                continue
            tied += 1
            student = net2net.widen(net, ast.literal_eval(found[1]), x).student
            with torch.no_grad():
                y = net(x)
                assert float((student(x) - y).abs().max()) <= 1e-10 * float(y.abs().max())
    assert tied or isinstance(net, Heads)
