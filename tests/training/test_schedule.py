"""Growth in the middle of a run: by a schedule, in place, killed and resumed."""

from __future__ import annotations

import inspect
import random
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.training import GrowthSchedule, Training, adopt
from net2net.training._event import GrowthEvent

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
Y = torch.tanh(X @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2)))
STEPS = 24


def begun() -> Training:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 11), nn.BatchNorm1d(11), nn.ReLU(), nn.Linear(11, 9), nn.ReLU(), nn.Linear(9, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, amsgrad=True)
    return Training(model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS))


def schedule(**more: Any) -> GrowthSchedule:
    events = {7: {"sizes": {"0": 23}, "how": "split"}, 15: {"where": {"3": 1}, "sizes": {"3": 17}}}
    return GrowthSchedule(events, X[:4], ramp=5, **more)


def one_step(training: Training, step: int) -> float:
    rows = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:16]
    training.optimizer.zero_grad()
    loss = (training.model(X[rows]) - Y[rows]).square().mean()
    loss.backward()
    training.optimizer.step()
    assert training.scheduler is not None
    training.scheduler.step()
    return loss.item()


def saved(training: Training, step: int, file: Path) -> None:
    torch.save({"step": step, "training": training.state_dict()}, file)


def resumed(file: Path) -> tuple[int, Training]:
    found = torch.load(file, weights_only=True)
    training = schedule().rebuild(found["step"], begun())
    training.load_state_dict(found["training"])
    return found["step"], training


def run(until: int, begin: int, training: Training, file: Path | None = None) -> Training:
    plan = schedule()
    for step in range(begin + 1, until + 1):
        one_step(training, step)
        training = plan.after(step, training)
        if file is not None:
            saved(training, step, file)
    return training


@pytest.mark.thin(3)
@pytest.mark.parametrize("seed", range(4))
def test_a_run_that_grows_twice_ends_the_same_however_often_it_is_killed(tmp_path: Path, seed: int) -> None:
    whole = run(STEPS, 0, begun())
    stops = sorted(random.Random(seed).sample(range(1, STEPS), 5))
    file, step, training = tmp_path / "state.pt", 0, begun()
    for stop in (*stops, STEPS):
        run(stop, step, training, file)
        step, training = resumed(file)
    ours, theirs = (t.model.state_dict() for t in (training, whole))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)
    assert type(training.model[3]) is nn.Linear and training.model[3].out_features == 17
    states = [t.optimizer.state_dict()["state"] for t in (training, whole)]
    assert all(torch.equal(states[0][k][n], states[1][k][n]) for k in states[0] for n in states[0][k])


def test_the_loss_doesnt_jump_at_a_growth() -> None:
    training, plan = begun(), schedule()
    for step in range(1, STEPS):
        one_step(training, step)
        training.model.eval()
        with torch.no_grad():
            before = training.model(X)
            training = plan.after(step, training)
            training.model.eval()
            after = training.model(X)
        training.model.train()
        assert torch.allclose(before, after, atol=1e-5)


def test_a_schedule_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(net2net.GrowthError, match="finished steps"):
        GrowthSchedule({0: {"sizes": 2.0}}, X)
    with pytest.raises(net2net.GrowthError, match="after step 3: it needs sizes"):
        GrowthSchedule({3: {"how": "split"}}, X)
    with pytest.raises(net2net.GrowthError, match="after step 3 has 'size', which"):
        GrowthSchedule({3: {"sizes": 2.0, "size": 4}}, X)
    with pytest.raises(net2net.OptionError, match="after step 3: init='identical' is not known"):
        GrowthSchedule({3: {"where": 2.0, "init": "identical"}}, X)
    with pytest.raises(net2net.OptionError, match="after step 3: how='spilt' is not known"):
        GrowthSchedule({3: {"sizes": 2.0, "how": "spilt"}}, X)
    with pytest.raises(net2net.GrowthError, match="rates='fast'"):
        GrowthSchedule({3: {"sizes": 2.0}}, X, rates="fast")


def test_an_event_takes_what_grow_takes() -> None:
    taken = list(inspect.signature(net2net.grow).parameters.values())[2:]
    assert {f.name: f.default for f in fields(GrowthEvent)} == {p.name: p.default for p in taken}


def test_what_cant_be_met_is_found_before_training() -> None:
    training = begun()
    before = {name: tensor.clone() for name, tensor in training.model.state_dict().items()}
    schedule().check(training)
    events: dict[int, dict[str, Any]] = {7: {"sizes": {"0": 23}}, 4000: {"where": {"9": 1}}}
    with pytest.raises(net2net.UnknownNameError, match=r"after step 4000: .*'9'"):
        GrowthSchedule(events, X[:4]).check(training)
    GrowthSchedule(events, X[:4]).check(training, done=4000)
    assert all(torch.equal(before[name], tensor) for name, tensor in training.model.state_dict().items())
    assert len(training.optimizer.state) == 0


def test_the_state_of_another_size_is_refused() -> None:
    small, grown = begun(), schedule().rebuild(7, begun())
    with pytest.raises(net2net.GrowthError, match=r"model doesn't fit.*number of steps"):
        small.load_state_dict(grown.state_dict())
    with pytest.raises(
        net2net.GrowthError, match="has model, optimizer, scheduler; this training has model, optimizer"
    ):
        Training(small.model, small.optimizer).load_state_dict(small.state_dict())


@pytest.mark.parametrize("times", [1, 2])
def test_in_place_training_is_the_same_as_with_new_objects(times: int) -> None:
    def trained(in_place: bool) -> nn.Module:
        training = begun()
        for step in range(1, STEPS):
            one_step(training, step)
            for event in range(times):
                if step == 6 + 3 * event:
                    growth = net2net.widen(training.model, {"0": 20 + event}, X[:4])
                    if in_place:
                        adopt(growth, training.model, training.optimizer, ramp=6)
                    else:
                        optimizer = growth.optimizer(training.optimizer, ramp=6)
                        assert training.scheduler is not None
                        training = Training(growth.student, optimizer, growth.scheduler(training.scheduler, optimizer))
        return training.model

    ours, theirs = (trained(in_place).state_dict() for in_place in (True, False))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_another_network_is_not_adopted() -> None:
    training, other = begun(), begun()
    with pytest.raises(net2net.GrowthError, match="another network"):
        adopt(net2net.widen(other.model, {"0": 20}, X[:4]), training.model, training.optimizer)
