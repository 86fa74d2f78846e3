"""Layers with spectral norm: what they read grows, their own units don't."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import net2net
from support import refused

FORMS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "hook": nn.utils.spectral_norm,
    "parametrization": parametrizations.spectral_norm,
}
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def double(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def linear(wrap: Callable[[nn.Module], nn.Module]) -> tuple[nn.Sequential, Tensor]:
    layers = nn.Linear(4, 8), nn.LeakyReLU(0.2), wrap(nn.Linear(8, 6)), nn.LeakyReLU(0.2), nn.Linear(6, 2)
    return nn.Sequential(*layers).double(), double(5, 4)


def convolution(wrap: Callable[[nn.Module], nn.Module]) -> tuple[nn.Sequential, Tensor]:
    layers = nn.Conv2d(3, 8, 3), nn.LeakyReLU(0.2), wrap(nn.Conv2d(8, 6, 3)), nn.LeakyReLU(0.2), nn.Conv2d(6, 2, 1)
    return nn.Sequential(*layers).double(), double(2, 3, 7, 7)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [linear, convolution])
def test_what_a_layer_reads_grows(form: str, make: Callable[[Any], tuple[nn.Sequential, Tensor]]) -> None:
    """Columns of zeros don't change the largest singular value, as power iteration gives it, in any mode."""
    torch.manual_seed(0)
    teacher, x = make(FORMS[form])
    for _ in range(2):
        teacher(x)  # two steps of power iteration: not there yet
    growth = net2net.widen(teacher, {"0": 13}, x)
    student: Any = growth.student
    assert not growth.verification.dead and {"eval", "train"} == set(growth.verification.exact_in)
    assert (student[2].in_features if make is linear else student[2].in_channels) == 13
    copied = copy.deepcopy(student)
    for mode in (False, True, True, True, False):
        teacher.train(mode), student.train(mode)
        with torch.no_grad():
            expected, found = teacher(x), student(x)
        assert float((expected - found).abs().max() / expected.abs().max()) <= 1e-10
    optimizer = torch.optim.SGD(copied.parameters(), 1e-2)
    stored = max(copied[2].parameters(), key=lambda p: p.dim())
    before = stored.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        copied(x).square().mean().backward()
        optimizer.step()
    assert bool((stored[:, 8:] != before[:, 8:]).all()) and bool(copied(x).isfinite().all())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("make", [linear, convolution])
def test_own_units_are_refused_in_words(form: str, make: Callable[[Any], tuple[nn.Sequential, Tensor]]) -> None:
    teacher, x = make(FORMS[form])
    message = refused(net2net.FixedDimensionError, lambda: net2net.widen(teacher, {"2": 9}, x), "spectral norm")
    assert "report" not in message


@pytest.mark.parametrize("form", FORMS)
def test_copies_are_refused(form: str) -> None:
    teacher, x = linear(FORMS[form])
    refused(net2net.FixedDimensionError, lambda: net2net.widen(teacher, {"0": 16}, x, how="split"), "holds constants")


def test_a_frozen_projection_is_no_such_buffer() -> None:
    """New units that only a constant reads would have none of its numbers."""

    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 8)
            self.register_buffer("projection", torch.randn(8, 3))

        def forward(self, x: Tensor) -> Any:
            return torch.tanh(self.a(x)) @ self.projection

    teacher = Projected().double()
    call = lambda: net2net.widen(teacher, {"a": 12}, double(3, 4))  # noqa: E731
    refused(net2net.FixedDimensionError, call, "'projection' holds constants")


class Block(nn.Module):
    def __init__(self, wrap: Callable[[nn.Module], nn.Module]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 9), wrap(nn.Linear(9, 6))

    def forward(self, x: Tensor) -> Any:
        return x + self.b(torch.relu(self.a(x)))


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("form", FORMS)
def test_blocks_whose_last_weight_is_normed(form: str) -> None:
    """No stored number makes its product 0; what comes before it can."""
    torch.manual_seed(0)
    teacher, x = nn.Sequential(nn.Linear(4, 6), Block(FORMS[form]), Block(FORMS[form]), nn.Linear(6, 2)), double(3, 4)
    for _ in range(2):
        teacher.double()(x)
    growth = net2net.deepen(teacher, {"1": 1}, x)
    student: Any = growth.student
    assert len(student) == 5 and growth.verification.dead  # ReLU has no slope at 0, and it is told
    assert any("don't learn" in note for note in growth.plan.notes)
    for mode in (False, True, True, True, False):
        teacher.train(mode), student.train(mode)
        with torch.no_grad():
            expected, found = teacher(x), student(x)
        assert float((expected - found).abs().max() / expected.abs().max()) <= 1e-10
    optimizer = torch.optim.SGD(student.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        student(x).square().mean().backward()
        optimizer.step()
    assert bool(student(x).isfinite().all())
