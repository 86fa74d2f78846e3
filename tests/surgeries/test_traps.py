"""The traps that people fell into who operated on policies, and the optimizer's state by a reference made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import Normalised, Recurrent, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


def doubled() -> tuple[nn.Module, torch.optim.Optimizer, net2net.Growth]:
    """A trained LSTM with twice the units of its state, two inputs in another order and one new."""
    teacher = made(Recurrent())
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3, weight_decay=0.1)
    x, state = drawn(2, 6, 3), (drawn(1, 2, 5), drawn(1, 2, 5, seed=2))
    for _ in range(3):
        optimizer.zero_grad()
        loss(teacher(x, state)).backward()
        optimizer.step()
    both = {f"state.{k}": F(5, 10) for k in (0, 1)}
    features: dict[Any, F] = {"obs": F(list("abc"), list("cnba")), **both}
    growth = net2net.surgery(teacher, (x, state), features=features, outputs=both)
    return teacher, optimizer, growth


def loss(found: dict[str, Any]) -> Tensor:
    logits, value = found["logits"], found["value"]
    assert isinstance(logits, Tensor) and isinstance(value, Tensor)
    return (logits - 0.3).square().mean() + (value - 1).square().mean()


@pytest.fixture(scope="module")
def operated() -> tuple[nn.Module, torch.optim.Optimizer, net2net.Growth]:
    return doubled()


def by_hand(name: str, old: Tensor) -> Tensor:
    """A moment of the teacher's where its entries stand in the student; 0 elsewhere. Gates one after the other."""
    columns = {"core.weight_ih_l0": [3, 2, 0], "core.weight_hh_l0": range(5)}  # a, b, c stand at 3, 2, 0
    if name.startswith("core.weight"):
        inputs = 4 if "ih" in name else 10
        new = torch.zeros(4, 10, inputs, dtype=old.dtype)
        for place, column in enumerate(columns[name]):
            new[:, :5, column] = old.reshape(4, 5, -1)[:, :, place]
        return new.reshape(40, inputs)
    if name.startswith("core.bias"):
        new = torch.zeros(4, 10, dtype=old.dtype)
        new[:, :5] = old.reshape(4, 5)
        return new.reshape(40)
    if name.endswith("weight"):  # of the heads
        return torch.cat([old, torch.zeros_like(old)], 1)
    return old


def test_moments_stand_where_a_reference_made_by_hand_has_them(operated: Any) -> None:
    teacher, optimizer, growth = operated
    state = growth.optimizer(optimizer).state
    names = [name for name, _ in teacher.named_parameters()]
    assert len(names) == 8
    for name in names:
        before, after = optimizer.state[teacher.get_parameter(name)], state[growth.student.get_parameter(name)]
        assert torch.equal(after["exp_avg"], by_hand(name, before["exp_avg"])), name
        kept = by_hand(name, torch.ones_like(before["exp_avg"])).bool()
        assert torch.equal(after["exp_avg_sq"][kept], by_hand(name, before["exp_avg_sq"])[kept]), name
        assert after["step"] == before["step"]


def test_gates_stay_in_their_order_and_both_biases_grow(operated: Any) -> None:
    teacher, _, growth = operated
    for name, old in teacher.core.named_parameters():
        new = growth.student.core.get_parameter(name)
        kept = by_hand(f"core.{name}", torch.ones_like(old)).bool()
        assert torch.equal(torch.where(kept, new, 0.0), by_hand(f"core.{name}", old.detach()))


def test_both_heads_that_read_the_core_ignore_new_units_and_learn_of_them(operated: Any) -> None:
    _, _, growth = operated
    student = growth.student
    assert not student.policy.weight[:, 5:].any() and not student.value.weight[:, 5:].any()
    student.zero_grad()
    (state,) = [tuple(torch.cat([s, 0 * s], -1) for s in (drawn(1, 2, 5), drawn(1, 2, 5, seed=2)))]
    loss(student(drawn(2, 6, 4), state)).backward()
    rows = student.core.weight_hh_l0.grad.reshape(4, 10, 10)
    assert student.policy.weight.grad[:, 5:].all() and student.value.weight.grad[:, 5:].all()
    assert rows[:, :5, 5:].abs().sum() > 0 and student.core.weight_ih_l0.grad[:, 1].any()


def test_weight_decay_does_not_silence_new_units(operated: Any) -> None:
    """They begin silent, so that only decay is felt by what makes them, until what reads them has grown."""
    _, optimizer, growth = doubled()
    student = growth.student
    new = growth.optimizer(optimizer, ramp=20)
    x, state = drawn(2, 6, 4), tuple(torch.cat([s, 0 * s], -1) for s in (drawn(1, 2, 5), drawn(1, 2, 5, seed=2)))
    size = student.core.weight_ih_l0.reshape(4, 10, 4)[:, 5:].norm().item()
    for _ in range(60):
        new.zero_grad()
        loss(student(x, state)).backward()
        new.step()
    assert student.core.weight_ih_l0.reshape(4, 10, 4)[:, 5:].norm().item() > 0.8 * size
    assert student.policy.weight[:, 5:].abs().min() > 1e-4 and student.value.weight[:, 5:].abs().min() > 1e-4


def test_a_new_feature_that_is_constant_so_far_costs_nothing_and_learns_when_it_lives() -> None:
    teacher, x = made(Normalised()), drawn(6, 3)
    student = net2net.surgery(teacher, x, features={"obs": F(3, 4)}).student
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    dead = torch.cat([x, torch.zeros(6, 1, dtype=torch.float64)], 1)
    student(dead).square().sum().backward()
    assert not student.first.weight.grad[:, 3].any() and student.first.weight.grad[:, :3].all()
    optimizer.step()
    assert not student.first.weight[:, 3].any()
    optimizer.zero_grad()
    student(drawn(6, 4, seed=8)).square().sum().backward()
    assert student.first.weight.grad[:, 3].all()


def test_single_frames_are_not_sequences() -> None:
    """A core whose old units read new ones is the teacher's on the first step from zeros, and only there: the proof of
    a surgery runs over more."""
    teacher, _, growth = doubled()
    student = growth.replay(teacher).student
    with torch.no_grad():
        student.core.weight_hh_l0.reshape(4, 10, 10)[:, :5, 5:] += 0.1
    zeros = tuple(torch.zeros(1, 2, 10, dtype=torch.float64) for _ in range(2))
    y = drawn(2, 6, 4, seed=9)
    mine = tuple(s[..., :5].contiguous() for s in zeros)
    old, new = teacher(y[..., [3, 2, 0]], mine)["logits"], student(y, zeros)["logits"]
    assert torch.allclose(old[:, 0], new[:, 0], rtol=1e-10) and not torch.allclose(old[:, 1:], new[:, 1:], rtol=1e-3)
