"""The ramp of the learning rate after a growth, alone and with schedulers, scalers and resumed runs."""

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
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    ReduceLROnPlateau,
    SequentialLR,
)

import net2net
from net2net.optimizer import ramp, resume_ramp
from support import refused

Scheduler = Callable[[torch.optim.Optimizer], LRScheduler]
SCHEDULERS: dict[str, Scheduler] = {
    "cosine": lambda o: CosineAnnealingLR(o, T_max=50),
    "exponential": lambda o: ExponentialLR(o, gamma=0.9),
    "lambda": lambda o: LambdaLR(o, lambda step: 1.0 / (1 + step)),
    "sequential": lambda o: SequentialLR(o, [LinearLR(o, 0.1, total_iters=4), ExponentialLR(o, 0.9)], milestones=[4]),
    "chained": lambda o: ChainedScheduler([LinearLR(o, 0.1, total_iters=8), ExponentialLR(o, 0.95)]),
}


def scalar(rate: float | torch.Tensor = 1.0) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
    weight.grad = -torch.ones((), dtype=torch.float64)
    return weight, torch.optim.SGD([weight], lr=rate)


def moves(weight: nn.Parameter, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """By how much each step moves the weight: the learning rate that was used."""
    found = []
    for _ in range(steps):
        before = weight.item()
        optimizer.step()
        found.append(weight.item() - before)
    return found


def test_a_straight_line_and_then_the_full_rate() -> None:
    weight, optimizer = scalar(0.5)
    ramp(optimizer, steps=10)
    expected = [0.05 * k for k in range(1, 11)] + [0.5] * 3
    assert moves(weight, optimizer, 13) == pytest.approx(expected)
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("rise", [0, 4])
def test_a_hold_comes_before_the_ramp_and_goes_on_in_a_resumed_run(rise: int) -> None:
    weight, optimizer = scalar(0.5)
    ramp(optimizer, rise, hold=3)
    expected = [0.0] * 3 + [0.5 * k / rise for k in range(1, rise + 1)] + [0.5] * 2
    assert moves(weight, optimizer, 2) == expected[:2]
    other, resumed = scalar(0.5)
    resumed.load_state_dict(optimizer.state_dict())
    resume_ramp(resumed, rise, hold=3)
    assert moves(other, resumed, len(expected) - 2) == pytest.approx(expected[2:])
    assert moves(weight, optimizer, len(expected) - 2) == pytest.approx(expected[2:])


def test_moments_fill_while_the_rate_is_held_at_0() -> None:
    teacher = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2, weight_decay=0.1)
    growth = net2net.surgery(teacher, torch.randn(5, 3), features={0: net2net.Features(3, 4)})
    held = growth.optimizer(optimizer, hold=2, ramp=0)
    before = {name: tensor.clone() for name, tensor in growth.student.state_dict().items()}

    def step() -> bool:
        """Whether a step leaves all weights as they were."""
        held.zero_grad()
        growth.student(torch.randn(5, 4)).square().sum().backward()
        held.step()
        return all(torch.equal(before[name], tensor) for name, tensor in growth.student.state_dict().items())

    assert [step(), step(), step()] == [True, True, False]
    assert all(state["exp_avg"].any() for state in held.state.values())


@pytest.mark.parametrize("options", [{"hold": -1}, {"hold": 1.5}, {"hold": True}, {"hold": 3, "ramp": -1}])
def test_a_hold_is_a_number_of_steps(options: dict[str, Any]) -> None:
    teacher = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    growth = net2net.widen(teacher, {"0": 6}, torch.randn(5, 3))
    with pytest.raises(net2net.OptionError, match="is not a number of steps"):
        growth.optimizer(torch.optim.SGD(teacher.parameters(), lr=0.1), **options)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_see_nothing_of_it(name: str) -> None:
    (a, plain), (b, ramped) = scalar(), scalar()
    schedulers = [SCHEDULERS[name](optimizer) for optimizer in (plain, ramped)]
    ramp(ramped, steps=10)
    for k in range(20):
        full, used = moves(a, plain, 1)[0], moves(b, ramped, 1)[0]
        assert used == pytest.approx(full * min(1.0, (k + 1) / 10))
        for scheduler in schedulers:
            scheduler.step()
        assert schedulers[0].get_last_lr() == schedulers[1].get_last_lr()


def test_it_survives_a_state_dict() -> None:
    weight, optimizer = scalar()
    ramp(optimizer, steps=10)
    first = moves(weight, optimizer, 4)
    saved = copy.deepcopy(optimizer.state_dict())
    for loaded_first in (True, False):
        other, resumed = scalar()
        if loaded_first:
            resumed.load_state_dict(saved)
        ramp(resumed, steps=10)
        if not loaded_first:
            resumed.load_state_dict(saved)
        assert first + moves(other, resumed, 7) == pytest.approx([0.1 * k for k in range(1, 11)] + [1.0])


def test_a_rate_that_is_a_tensor_stays_the_same_tensor() -> None:
    rate = torch.tensor(0.5)
    weight, optimizer = scalar(rate)
    ramp(optimizer, steps=2)
    assert moves(weight, optimizer, 3) == pytest.approx([0.25, 0.5, 0.5])
    assert optimizer.param_groups[0]["lr"] is rate and rate == 0.5


def test_steps_that_a_scaler_skips_do_not_count() -> None:
    weight, optimizer = scalar()
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    ramp(optimizer, steps=4)
    weight.grad = torch.full_like(weight, torch.inf)
    scaler.scale(torch.zeros(()))
    scaler.step(optimizer)
    scaler.update()
    assert weight == 0 and optimizer.param_groups[0]["ramp_step"] == 0


def test_a_step_that_raises_leaves_the_rate() -> None:
    weight, optimizer = scalar()
    ramp(optimizer, steps=4)

    def broken() -> float:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError):
        optimizer.step(broken)
    assert moves(weight, optimizer, 5) == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_it_can_be_ended() -> None:
    weight, optimizer = scalar()
    handle = ramp(optimizer, steps=100)
    moves(weight, optimizer, 3)
    handle.remove()
    assert moves(weight, optimizer, 1) == [1.0]


@pytest.mark.parametrize("steps", [0, -1, 2.5, True])
def test_other_lengths_are_refused(steps: object) -> None:
    refused(net2net.OptionError, lambda: ramp(scalar()[1], steps=steps), "steps=", "at least 1")  # type: ignore[arg-type]


def test_a_plateau_scheduler() -> None:
    weight, optimizer = scalar()
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
    ramp(optimizer, steps=2)
    moves(weight, optimizer, 2)
    for loss in (1.0, 2.0):
        scheduler.step(loss)
    assert moves(weight, optimizer, 1) == [0.5]
