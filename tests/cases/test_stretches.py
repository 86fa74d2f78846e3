"""Stretches of an axis taken by number: the number is right in the student, or the growth is refused for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import refused, trained

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


class Gated(nn.Module):
    """One unit of a layer gates the rest; a stretch of one place has the same shape wherever it is."""

    def __init__(self, take: Callable[[Tensor, int], Tensor], first: int = 3) -> None:
        super().__init__()
        self.take, self.first = take, first
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return self.c(torch.tanh(self.b(h))) * self.take(h, self.first)


KEPT = {
    "slice": lambda h, k: h[:, k : k + 1],
    "narrow": lambda h, k: h.narrow(1, k, 1),
}
WRITTEN = {"slice": lambda h, _: h[:, 3:4], "narrow": lambda h, _: h.narrow(-1, 3, 1)}


def dimension_before(net: nn.Module, size: int) -> str:
    """The part of that size of the layer."""
    return next(d.name for d in net2net.analyze(net, X).growable() if d.size == size and ("a.weight", 0) in places(d))


def places(dimension: net2net.Dimension) -> set[tuple[str, int]]:
    return {(place.tensor, place.axis) for place in dimension.places}


@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize("name", ["slice", "narrow"])
@pytest.mark.parametrize("size", [4, 5, 9])
def test_a_number_that_the_module_keeps_follows(name: str, size: int, how: str | None) -> None:
    net = trained(Gated(KEPT[name]))
    growth = net2net.widen(net, {dimension_before(net, 3): size}, X, how=how)
    assert growth.student.first == size and net.first == 3
    assert "first" in str(growth.plan)
    for given in (X, 2 * X[:3]):
        assert (net(given) - growth.student(given)).abs().max() <= 1e-10 * net(given).abs().max()


@pytest.mark.parametrize("name", [*WRITTEN])
def test_a_number_in_the_forward_is_named(name: str) -> None:
    net = trained(Gated(WRITTEN[name]))
    sizes = {dimension_before(net, 3): 5}
    refused(net2net.CouplingError, lambda: net2net.widen(net, sizes, X), f"aten.{name}", "from 3 on", "from 5 on")


def test_what_lies_behind_grows() -> None:
    net = trained(Gated(WRITTEN["slice"]))
    growth = net2net.widen(net, {dimension_before(net, 4): 9}, X)
    assert growth.student.first == 3
    assert (net(X) - growth.student(X)).abs().max() <= 1e-10 * net(X).abs().max()


def test_a_number_from_the_end() -> None:
    """What is before it grows; what is behind it would move it."""
    net = trained(Gated(lambda h, _: h[:, -5:-4]))
    student = net2net.widen(net, {dimension_before(net, 3): 5}, X).student
    assert (net(X) - student(X)).abs().max() <= 1e-10 * net(X).abs().max()
    sizes = {dimension_before(net, 4): 7}
    refused(net2net.CouplingError, lambda: net2net.widen(net, sizes, X), "aten.slice", "from 6 on", "from 3 on")
