"""New units are as loud as old ones: deep networks without norms don't explode."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from net2net.proof._liveness import _loudness
from net2net.proof._new_units import NewUnits
from net2net.width import _scales
from support import widen_at


class Stream(nn.Module):
    """Residual blocks with no norm."""

    def __init__(self, blocks: int = 18, width: int = 24) -> None:
        super().__init__()
        self.start, self.end = nn.Linear(8, width), nn.Linear(width, 2)
        self.a, self.b = (nn.ModuleList(nn.Linear(width, width) for _ in range(blocks)) for _ in "ab")

    def stream(self, x: Tensor) -> Tensor:
        x = self.start(x)
        for a, b in zip(self.a, self.b, strict=True):
            x = x + b(torch.relu(a(x)))
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.stream(x))  # type: ignore[no-any-return]


def cancelling() -> tuple[Stream, Tensor]:
    """A stream as training leaves it: large weights whose rows cancel most of what they read."""
    torch.manual_seed(0)
    net, x = Stream(), torch.randn(512, 8)
    with torch.no_grad():
        h = net.start(x)
        for a, b in zip(net.a, net.b, strict=True):
            a.weight.mul_(4)
            r = torch.relu(a(h))
            basis = torch.linalg.eigh(r.T @ r)[1][:, :8]
            b.weight.copy_(torch.randn(24, 24) @ basis @ basis.T)
            b.weight *= 0.3 / b(r).std()
            h = h + b(r)
    return net, x


@pytest.mark.parametrize("how", [None, "pair"])
def test_a_stream_whose_rows_cancel(how: str | None) -> None:
    net, x = cancelling()
    growth = net2net.widen(net, 2.0, x, how=how)
    assert growth.verification.loudness is not None and growth.verification.loudness < 10
    assert "times that of old ones" in growth.report()
    student = growth.student
    assert student.stream(x).abs().max() < 2.5 * net.stream(x).abs().max()
    optimizer, losses = torch.optim.Adam(student.parameters(), lr=1e-4), []
    for _ in range(3):
        losses.append((student(x) - x[:, :2].sin()).square().mean())
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[2] < losses[1] < losses[0]


def test_without_the_measure_it_explodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests here would see: new rows with the standard deviation of the old ones."""
    monkeypatch.setattr("net2net.operators._widen.with_scales", lambda plan, *_: plan)
    net, x = cancelling()
    with pytest.warns(net2net.Net2NetWarning, match="times as large"):
        growth = net2net.widen(net, 2.0, x)
    assert growth.student.stream(x).abs().max() > 20 * net.stream(x).abs().max()


class Sharper(nn.Module):
    """Super-resolution: residual blocks of convolutions, no norm, pixels shuffled at the end."""

    def __init__(self, blocks: int = 20, width: int = 6) -> None:
        super().__init__()
        self.start, self.end = nn.Conv2d(1, width, 3, padding=1), nn.Conv2d(width, 4, 3, padding=1)
        layers = [[nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)]]
        self.body = nn.ModuleList(nn.Sequential(*copy.deepcopy(layers[0])) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.start(x)
        for block in self.body:
            h = h + block(h)
        return F.pixel_shuffle(self.end(h), 2)


def deep() -> nn.Module:
    layers = [layer for _ in range(20) for layer in (nn.Linear(16, 16), nn.LeakyReLU(0.3))]
    return nn.Sequential(nn.Linear(8, 16), *layers, nn.Linear(16, 3))


def picture(seed: int) -> tuple[Tensor, Tensor]:
    """Waves on a grid, and what is left of them at half the resolution."""
    generator = torch.Generator().manual_seed(seed)
    grid = torch.linspace(0, 3, 16)
    waves = torch.rand(8, 2, 1, 1, generator=generator) * 3
    fine = torch.sin(waves[:, :1] * grid[:, None] + waves[:, 1:] * grid) + 0.5 * torch.sin(5 * waves[:, :1] * grid)
    return F.avg_pool2d(fine, 2), fine


def vectors(seed: int) -> tuple[Tensor, Tensor]:
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(2 * x[:, :3])


def descend(net: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]) -> float:
    loss = (net(batch[0]) - batch[1]).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@pytest.mark.filterwarnings("ignore:new entries get gradients")
@pytest.mark.parametrize(
    ("make", "data", "rate"), [(Sharper, picture, 1e-3), (Stream, vectors, 1e-3), (deep, vectors, 1e-3)]
)
def test_training_goes_on(make: Any, data: Any, rate: float) -> None:
    """Norm-free networks in the middle of their training, with the optimizer that was carried along."""
    torch.manual_seed(0)
    net = make() if make is not Stream else nn.Sequential(Stream(), nn.Linear(2, 3))
    own = torch.optim.Adam(net.parameters(), lr=rate)
    for seed in range(300):
        descend(net, own, data(seed))
    growth = net2net.widen(net, 2.0, data(999)[0])
    new = growth.optimizer(own)
    theirs = [descend(growth.student, new, data(seed)) for seed in range(1000, 1050)]
    ours = [descend(net, own, data(seed)) for seed in range(1000, 1050)]
    assert max(theirs) <= 1.05 * max(ours), max(theirs) / max(ours)


def test_training_goes_on_where_rows_cancel() -> None:
    net, x = cancelling()
    batch = x, x[:, :2].sin()
    own = torch.optim.Adam(net.parameters(), lr=1e-4)
    for _ in range(20):
        descend(net, own, batch)
    growth = net2net.widen(net, 2.0, x)
    new = growth.optimizer(own)
    theirs = [descend(growth.student, new, batch) for _ in range(50)]
    ours = [descend(net, own, batch) for _ in range(50)]
    assert max(theirs) <= 1.05 * max(ours), max(theirs) / max(ours)


def test_functions_and_views_are_measured_too() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.b, self.v = (nn.Parameter(torch.randn(*s)) for s in [(40, 30), (40,), (2, 40)])

        def forward(self, x: Tensor) -> Tensor:
            h = (self.w @ x.t()).t() + self.b
            return torch.einsum("oi,bi->bo", self.v, torch.tanh(h))

    net, x = Plain().double(), torch.randn(50, 3, dtype=torch.float64) @ torch.randn(3, 30, dtype=torch.float64)
    with torch.no_grad():
        net.w.sub_(net.w @ torch.linalg.pinv(x) @ x * 0.99)  # rows that cancel nearly all that they read
        net.b.mul_(0.01)
    student = widen_at(net, {"w": 87}, x).student
    given = x @ student.w.t() + student.b
    ratio = given[:, 40:].square().mean().sqrt() / given[:, :40].square().mean().sqrt()
    assert 0.5 < ratio < 2


def test_the_plan_keeps_the_scale(tmp_path: Path) -> None:
    net, x = cancelling()
    growth = net2net.widen(net, {"a.0": 31}, x)
    assert growth.plan.tensors["a.0.weight"].axes[0].spread != 1.0  # type: ignore[union-attr]
    growth.plan.save(tmp_path / "plan")
    plan = net2net.Plan.load(tmp_path / "plan")
    assert plan == growth.plan
    again = net2net.replay(plan, net, x).student
    assert all(torch.equal(a, b) for a, b in zip(growth.student.parameters(), again.parameters(), strict=True))


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_silent_teachers_have_no_scale() -> None:
    """Where old units give nothing there is nothing to measure: new ones are drawn as before."""
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.zeros_(net[0].weight)
    growth = net2net.widen(net, {"0": 7}, torch.randn(5, 3), how="zero_out")
    assert growth.student[0].weight[4:].count_nonzero() == 9
    assert _scales.with_scales(growth.plan, net2net.analyze(net, torch.randn(5, 3)).sites.inference, {}) is not None


@pytest.mark.parametrize("old, loud", [(1e-19, None), (1e-4, 20.0)])
def test_gradients_that_are_rounding_are_nothing_to_compare_with(old: float, loud: float | None) -> None:
    gradient = torch.tensor([[old, old], [2e-3, 1e-3]], dtype=torch.float64)
    units = NewUnits("router", "experts", 0, np.array([1]), np.array([0]))
    found = _loudness({"router": gradient}, [units], largest=1.0)
    assert found == (loud if loud is None else pytest.approx(loud))


def test_how_often_an_expert_is_chosen_is_not_how_loud_it_is() -> None:
    gradient = torch.tensor([[1e-4], [2e-3]])
    units = NewUnits("experts", "experts", 0, np.array([1]), np.array([0]), routed=True)
    assert _loudness({"experts": gradient}, [units], largest=1.0) is None
