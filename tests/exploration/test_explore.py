"""The search: chains of growths from one teacher, which inherit from the best ones before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net

optuna = pytest.importorskip("optuna")
X, Y = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 1, 64)[:, None]


def teacher() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
    for step in range(10):
        optimizer.zero_grad()
        loss = (model(X) - Y).square().mean()
        loss.backward()
        optimizer.step()
        trial.report(loss.item(), step)
    return float((model(X) - Y).square().mean())


def test_children_inherit_from_the_best_and_the_search_goes_on(tmp_path: Path) -> None:
    model = teacher()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = net2net.explore(model, X[:2], train, trials=4, folder=tmp_path, ramp=2)
    assert len(found.trials) == 4 and all(t.outcome == "trained" for t in found.trials)
    found = net2net.explore(model, X[:2], train, trials=6, folder=tmp_path, ramp=2)
    assert len(found.trials) == 6
    assert found.trials[0].architecture == {"0": 8, "2": 8, "deepen 0": 0, "deepen 2": 0}
    assert any(t.parent is not None and t.growths for t in found.trials)  # not only from the teacher
    assert found.best.score == min(t.score for t in found.trials if t.score is not None)
    assert float((found.best.model(X) - Y).square().mean()) == pytest.approx(found.best.score, rel=1e-6)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_child_starts_as_its_parent_ended(tmp_path: Path) -> None:
    starts: dict[int, tuple[float, int]] = {}

    def loop(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
        state = sum(float(s["exp_avg"].abs().sum() > 0) for s in optimizer.state.values() if "exp_avg" in s)
        starts[trial.number] = float((model(X) - Y).square().mean()), int(state)
        optimizer.param_groups[0]["lr"] = 0.01 if trial.number else 0.02
        return train(model, optimizer, trial)

    found = net2net.explore(teacher(), X[:2], loop, trials=6, folder=tmp_path, ramp=2)
    scores = {t.number: t.score for t in found.trials}
    children = [t for t in found.trials if t.parent is not None]
    assert children
    for child in children:
        assert child.parent is not None
        assert starts[child.number][0] == pytest.approx(scores[child.parent], rel=1e-5)
        assert starts[child.number][1] > 0
