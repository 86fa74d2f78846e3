"""Networks whose shapes or numbers depend on values: the rest of them grows, and nothing is an internal error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import net2net

Float = torch.float64


class Experts(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 4)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen, y = self.gate(x).argmax(-1), torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            y[chosen == k] = expert(x[chosen == k])
        return y


class Scaled(nn.Module):
    """Divides by the largest value, as a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)) / (1 + x.abs().max().item()))))


class Picked(nn.Module):
    """Only rows that a mask picks go through the layers, and are added where they came from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = (x[:, 0] > 0).nonzero()[:, 0]
        return x.index_add(0, places, self.b(torch.relu(self.a(x[places]))))


def mixture() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), Experts())


def check(teacher: nn.Module, student: nn.Module) -> None:
    for size in (1, 6, 23):
        x = torch.randn(size, 4, dtype=Float)
        for mode in (False, True):
            with torch.no_grad():
                expected, found = teacher.train(mode)(x), student.train(mode)(x)
            assert float((found - expected).abs().max()) <= 1e-10 * float(expected.abs().max())


@pytest.mark.parametrize("build", [mixture, Scaled, Picked])
def test_all_that_can_grows(build: Any) -> None:
    torch.manual_seed(0)
    net, x = build().to(Float), torch.randn(6, 4, dtype=Float)
    assert net2net.analyze(net, x).growable()
    check(net, net2net.widen(net, 2.0, x).student)


@pytest.mark.parametrize("name, size", [("0", 9), ("3.experts.1.0", 11)])
def test_one_width_of_a_mixture(name: str, size: int) -> None:
    torch.manual_seed(0)
    net, x = mixture().to(Float), torch.randn(6, 4, dtype=Float)
    student = net2net.widen(net, {name: size}, x).student
    assert student.get_submodule(name).out_features == size
    check(net, student)


@pytest.mark.parametrize("name", ["0", "3.experts.0.0"])
def test_deeper(name: str) -> None:
    torch.manual_seed(0)
    net, x = mixture().to(Float), torch.randn(6, 4, dtype=Float)
    check(net, net2net.deepen(net, {name: 1}, x).student)
