"""What hangs on an optimizer or a network follows the growth: schedulers, scalers, averages, other teachers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ChainedScheduler,
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn

import net2net
from deeper import equal_states, error, state
from support import X, from_zoo, mlp, refused

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

EVEN = {"how": "split", "shares": "even"}
SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], LRScheduler]] = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=30),
    "lambda": lambda o: LambdaLR(o, [lambda step: 0.9**step, lambda step: 0.5**step]),
    "sequential": lambda o: SequentialLR(
        o, [LinearLR(o, 0.1, total_iters=8), CosineAnnealingLR(o, 20)], milestones=[8]
    ),
    "chained": lambda o: ChainedScheduler([LinearLR(o, 0.1, total_iters=8), CosineAnnealingLR(o, 20)]),
    "one_cycle": lambda o: OneCycleLR(o, max_lr=[0.02, 0.2], total_steps=40),
    "cyclic": lambda o: CyclicLR(o, base_lr=0.001, max_lr=0.01, step_size_up=7, mode="triangular2"),
    "swa": lambda o: SWALR(o, swa_lr=0.05, anneal_epochs=9),
}


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (model(X) - 1).square().mean().backward()
    optimizer.step()


def two_groups(teacher: nn.Module) -> torch.optim.Optimizer:
    weights = [p for p in teacher.parameters() if p.dim() == 2]
    biases = [p for p in teacher.parameters() if p.dim() == 1]
    return torch.optim.SGD([{"params": weights}, {"params": biases, "lr": 0.1}], lr=0.01, momentum=0.9)


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    return [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_go_on(name: str) -> None:
    teacher = mlp()
    optimizer = two_groups(teacher)
    scheduler = SCHEDULERS[name](optimizer)
    for _ in range(6):
        step(teacher, optimizer)
        scheduler.step()
    growth = net2net.widen(teacher, 2.0, X)
    new = growth.optimizer(optimizer)
    follower = growth.scheduler(scheduler, new)
    assert type(follower) is type(scheduler) and follower.optimizer is new and scheduler.optimizer is optimizer
    for _ in range(12):
        assert rates(new) == rates(optimizer) and follower.get_last_lr() == scheduler.get_last_lr()
        step(teacher, optimizer)
        step(growth.student, new)
        scheduler.step()
        follower.step()
    assert rates(new) == rates(optimizer)


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name not in ("cyclic", "swa")])
def test_schedulers_keep_the_factors_of_a_trajectory(name: str) -> None:
    teacher = mlp()
    optimizer = two_groups(teacher)
    scheduler = SCHEDULERS[name](optimizer)
    for _ in range(6):
        step(teacher, optimizer)
        scheduler.step()
    growth = net2net.widen(teacher, 2.0, X, **EVEN)
    new = growth.optimizer(optimizer, rates="trajectory")
    follower = growth.scheduler(scheduler, new)
    assert len(new.param_groups) > 2
    for _ in range(12):
        step(teacher, optimizer)
        step(growth.student, new)
        assert torch.allclose(growth.student(X), teacher(X), rtol=0, atol=1e-10)
        scheduler.step()
        follower.step()
        assert follower.get_last_lr() == rates(new)


def test_a_plateau_scheduler_and_its_state() -> None:
    teacher = mlp()
    optimizer = torch.optim.SGD(teacher.parameters(), lr=1.0)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
    for loss in (1.0, 2.0):
        scheduler.step(loss)
    growth = net2net.widen(teacher, 2.0, X)
    follower = growth.scheduler(scheduler, growth.optimizer(optimizer))
    follower.step(3.0)
    assert rates(follower.optimizer) == [0.5] and rates(optimizer) == [1.0]
    assert follower.state_dict()["best"] == 1.0


def test_a_scheduler_of_another_optimizer_is_refused() -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, 2.0, X)
    optimizer, other = torch.optim.SGD(teacher.parameters(), lr=1.0), torch.optim.SGD(mlp().parameters(), lr=1.0)
    new = growth.optimizer(optimizer)
    refused(
        net2net.OptionError, lambda: growth.scheduler(LambdaLR(other, lambda s: 1.0), new), "group 0", "growth.optimi"
    )


def test_a_gradient_scaler_needs_nothing() -> None:
    teacher = mlp().float()
    optimizer = torch.optim.AdamW(teacher.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=4)

    def scaled(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        scaler.scale((model(X.float()) - 1).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    for _ in range(3):
        scaled(teacher, optimizer)
    growth = net2net.widen(teacher, 2.0, X.float())
    new = growth.optimizer(optimizer)
    before = state(growth.student)
    for _ in range(5):
        scaled(growth.student, new)
    assert scaler.get_scale() == 1024.0
    assert any(not torch.equal(before[n], t) for n, t in growth.student.state_dict().items())
    assert new.state[growth.student[0].weight]["step"] == 8


@pytest.mark.parametrize("use_buffers", [True, False])
def test_an_average_of_weights_goes_on(use_buffers: bool) -> None:
    teacher, x = from_zoo("resnet_basic")
    averaged = AveragedModel(teacher, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=use_buffers)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        teacher(x).square().mean().backward()
        optimizer.step()
        averaged.update_parameters(teacher)
    growth = net2net.widen(teacher, 2.0, x, **EVEN)
    new = growth.ema(averaged)
    assert type(new) is AveragedModel and new.n_averaged == 3 and new.n_averaged is not averaged.n_averaged
    assert error(averaged.module, new.module, x) < 1e-10 < error(averaged.module, growth.student, x)
    assert error(averaged, new, x, train=True) < 1e-10
    new.update_parameters(growth.student)
    averaged.update_parameters(teacher)
    assert new.n_averaged == 4 == averaged.n_averaged
    assert error(averaged.module, new.module, x) < 1e-10  # averages of even copies are copies of averages


OPTIONS: dict[str, Callable[[nn.Module, Any], net2net.Growth]] = {
    "wider": lambda t, x: net2net.widen(t, 2.0, x),
    "copies": lambda t, x: net2net.widen(t, 2.0, x, how="split", noise="zero_sum"),
    "random": lambda t, x: net2net.widen(t, 2.0, x, how="random_pad"),
    "both": lambda t, x: net2net.grow(t, x, sizes=2.0, where=2.0),
}


@pytest.mark.thin(3)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", ["llama", "resnet_basic"])
def test_a_growth_is_a_recipe(name: str, options: str) -> None:
    """Replayed on a copy it makes the same student; on another network, one like the growth of that would make."""
    teacher, x = from_zoo(name)
    growth = OPTIONS[options](teacher, x)
    again = growth.replay(copy.deepcopy(teacher))
    assert again.plan is growth.plan and again.student is not growth.student
    assert all(
        torch.equal(a, b) for a, b in zip(state(again.student).values(), state(growth.student).values(), strict=True)
    )
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3).add_(0.01)
    replayed, grown = growth.replay(other), OPTIONS[options](other, x)
    assert type(replayed.student) is type(other) and replayed.teacher is other
    # A growth measures how large new weights have to be: of the first network for a replay, of the other for its own.
    for (name, ours), theirs in zip(state(replayed.student).items(), state(grown.student).values(), strict=True):
        assert ours.shape == theirs.shape and torch.equal(ours == 0, theirs == 0), name
    assert replayed.verification.passed
    shared = {id(p) for p in replayed.student.parameters()} & {
        id(p) for p in [*other.parameters(), *growth.student.parameters()]
    }
    assert not shared


@pytest.mark.parametrize("name", ["tied_linears", "shared_module", "gru_lm"])
def test_tied_and_recurrent_weights_are_replayed(name: str) -> None:
    teacher, x = from_zoo(name)
    growth = net2net.widen(teacher, 2.0, x)
    assert equal_states(state(growth.replay(copy.deepcopy(teacher)).student), state(growth.student))


def test_a_replayed_growth_carries_an_optimizer() -> None:
    growth = net2net.widen(mlp(), 2.0, X)
    other = mlp()
    optimizer = torch.optim.AdamW(other.parameters())
    step(other, optimizer)
    replayed = growth.replay(other)
    new = replayed.optimizer(optimizer)
    assert new.state[replayed.student[0].weight]["exp_avg"].shape == (16, 4)


def test_another_network_is_refused() -> None:
    growth = net2net.widen(mlp(), 2.0, X)
    other = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2)).double()
    refused(net2net.StudentMismatchError, lambda: growth.replay(other), "'0.bias'", "(8,)", "(9,)", "same shapes")
