"""Trials that can't be grown, cost too much, fail, are pruned or killed: each has a reason, none is a crash."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net

optuna = pytest.importorskip("optuna")
X = torch.randn(16, 4, generator=torch.Generator().manual_seed(1))


class Picky(nn.Module):
    """It runs at any width but 12."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        if x.shape[-1] == 12:
            raise ValueError("not 12")
        out: torch.Tensor = self.last(x)
        return out


def train(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
    optimizer.zero_grad()
    loss = model(X).square().mean()
    loss.backward()
    optimizer.step()
    return float(loss)


def explored(tmp_path: Path, loop: Any = train, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "space": {"first": [12, 16, 24]}, "storage": optuna.storages.InMemoryStorage(), "ramp": 0, "folder": tmp_path,
        "trials": 5,
    }  # fmt: skip
    torch.manual_seed(0)
    return net2net.explore(Picky(), X[:2], loop, **{**settings, **options})


def test_a_refused_growth_costs_nothing_and_is_not_asked_for_again(tmp_path: Path) -> None:
    found = explored(tmp_path)
    refused = [t for t in found.trials if t.outcome == "refused"]
    assert len(refused) == 1 and refused[0].architecture == {"first": 12} and refused[0].compute == 0
    assert "first" in refused[0].reason and refused[0].score is None
    assert sum(t.outcome == "trained" for t in found.trials) == 5  # it is not one of those asked for
    assert "refused" in str(found)


def test_what_the_loop_raises_is_a_failed_trial(tmp_path: Path) -> None:
    def loop(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> Any:
        if trial.number == 1 or "start" in trial.params:
            raise KeyError("no such batch")
        return (float("nan"), "good")[trial.number - 2] if trial.number in (2, 3) else train(model, optimizer, trial)

    found = explored(tmp_path, loop, space={"first": [16]}, trials=5)
    outcomes = [t.outcome for t in found.trials]
    assert outcomes == ["trained", "failed", "failed", "failed", "trained"]
    assert "no such batch" in found.trials[1].reason and "test_outcomes.py, line" in found.trials[1].reason
    assert "nan" in found.trials[2].reason and "good" in found.trials[3].reason
    assert found.best.trial.number in (0, 4)
    assert found.run_baselines(1) == ()  # the loop fails for these too, once


def test_limits_are_never_exceeded_by_what_is_trained(tmp_path: Path) -> None:
    found = explored(tmp_path, space={"first": [16, 20, 24]}, limits={"parameters": 100}, trials=4)
    for trial in found.trials:
        assert trial.cost is not None
        assert (trial.outcome == "beyond a limit") == (trial.cost.parameters > 100)
    assert found.best.trial.cost.parameters <= 100 and all(t.cost.parameters <= 100 for t in found.front)
    beyond = [t.architecture["first"] for t in found.trials if t.outcome == "beyond a limit"]
    assert beyond and all(b < min(beyond[:i]) for i, b in enumerate(beyond) if i)  # nothing as large again
    with pytest.raises(net2net.OptionError, match="teacher itself"):
        explored(tmp_path, limits={"parameters": 10})
    with pytest.raises(net2net.OptionError, match="no limit 'size'"):
        explored(tmp_path, limits={"size": 10})


def test_pruned_trials_count_and_are_no_parents(tmp_path: Path) -> None:
    def loop(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
        for step in range(3):
            train(model, optimizer, trial)
            trial.report(float(trial.number % 2), step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return float(trial.number % 2)

    found = explored(tmp_path, loop, space={"first": [16]}, trials=5, pruner=optuna.pruners.ThresholdPruner(upper=0.5))
    assert [t.outcome for t in found.trials] == ["trained", "pruned", "trained", "pruned", "trained"]
    assert all(t.parent in (None, 0, 2) and t.compute > 0 for t in found.trials)
    curves = [list(t.intermediate_values) for t in found.study.get_trials()]
    small, large = (next(t for t in found.trials if t.architecture["first"] == size) for size in (8, 16))
    assert len(curves[small.number]) == 3 and curves[small.number] == [8, 16, 24]  # 16 rows are eight times two
    if large.outcome == "trained":
        assert curves[large.number][0] > 8  # a step of a larger network is more operations


def test_two_objectives_give_a_front_and_hyperband_runs(tmp_path: Path) -> None:
    found = explored(tmp_path, space={"first": [16, 24]}, objectives=("score", "flops"), trials=4)
    assert len(found.study.directions) == 2 and found.front
    for one in found.front:
        for other in found.trials:
            cheaper = other.cost.flops <= one.cost.flops and other.score <= one.score
            assert not cheaper or (other.cost.flops, other.score) == (one.cost.flops, one.score)
    hyperband = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=9)
    found = explored(tmp_path, space={"first": [16]}, pruner=hyperband, trials=3, direction="maximize", inherit=False)
    assert Counter(t.outcome for t in found.trials) == {"trained": 3} and all(t.parent is None for t in found.trials)
    assert found.best.score == max(t.score for t in found.trials)
    assert [bool(t.growths) for t in found.trials] == [t.architecture != {"first": 8} for t in found.trials]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_killed_worker_loses_only_its_trial(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"

    def killed(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
        if trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(model, optimizer, trial)

    child = os.fork()
    if not child:
        explored(tmp_path, killed, space={"first": [16]}, storage=storage, trials=3)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    found = explored(tmp_path, space={"first": [16]}, storage=storage, trials=3)
    assert Counter(t.outcome for t in found.trials) == {"trained": 3, "ended": 1}
    lost, again = found.trials[1:3]
    assert lost.outcome == "ended" and again.outcome == "trained" and again.architecture == lost.architecture


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"direction": "down"}, "direction='down'"),
        ({"trials": -1}, "trials=-1"),
        ({"objectives": ("flops",)}, "objectives"),
        ({"space": ["second*"]}, "second"),
        ({"space": {"first": [4]}}, "sizes from 8"),
        ({"loop": 3}, "train is not a function"),
        ({"optimizer": torch.optim.SGD([nn.Parameter(torch.zeros(1))])}, "optimizer's parameters"),
    ],
)
def test_what_can_not_be_meant_is_refused_by_name(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(net2net.GrowthError, match=words):
        explored(tmp_path, **options)
