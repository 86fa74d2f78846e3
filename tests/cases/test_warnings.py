"""Warnings stand at the user's line."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import X, mlp


class Apart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.spare = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Any:
        return self.b(torch.relu(self.a(x)))


def keeping() -> nn.Module:
    model = mlp()
    model.optimizer = torch.optim.SGD(model.parameters(), 0.1)  # type: ignore[assignment]  # as users do
    return model


def ended() -> Any:
    teacher = mlp()
    optimizer = torch.optim.SGD(teacher.parameters(), 0.1, momentum=0.9)
    teacher(X).sum().backward()
    optimizer.step()
    optimizer.param_groups[0].update(initial_lr=0.1, lr=0.0)
    return net2net.widen(teacher, {"0": 12}, X).optimizer(optimizer)


CALLS: dict[str, Callable[[], Any]] = {
    "unread": lambda: net2net.widen(Apart().double(), {"a": 12}, X),
    "twins": lambda: net2net.widen(mlp(), {"0": 16}, X, how="split", shares="even"),
    "twins in a transfer": lambda: net2net.transfer(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double(),
        nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2)).double(), X, how="split", shares="even",
    ),
    "optimizer of the model": lambda: net2net.deepen(keeping(), {"0": 1}, X),
    "wider and deeper": lambda: net2net.grow(keeping(), X, sizes={"0": 12}, where={"0": 1}),
    "ended schedule": ended,
    "frozen": lambda: net2net.widen(mlp().requires_grad_(False), {"0": 12}, X),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_the_line_is_the_users(call: str) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        CALLS[call]()
    places = [one.filename for one in found if issubclass(one.category, net2net.Net2NetWarning)]
    assert places and set(places) == {__file__}


def test_nothing_that_trains_is_told() -> None:
    with pytest.warns(net2net.Net2NetWarning, match="all parameters are frozen"):
        growth = net2net.widen(mlp().requires_grad_(False), {"0": 12}, X)
    assert growth.verification.dead is None and any("frozen" in note for note in growth.plan.notes)
    assert "frozen" in str(growth)
