"""Restart after a surgery: noise that does no harm, gradients cut off, biases of new classes that are calibrated."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net import Features as F
from net2net.training import add_noise, clip, largest_harmless_noise
from policies import Recurrent, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def doubled() -> net2net.Growth:
    """An LSTM whose state is given, with twice the units: block-triangular."""
    state, both = (drawn(1, 2, 5), drawn(1, 2, 5, seed=2)), {f"state.{k}": F(5, 10) for k in (0, 1)}
    return net2net.surgery(made(Recurrent()), (drawn(2, 6, 3), state), features=both, outputs=both)


def test_the_largest_noise_that_does_no_harm(doubled: net2net.Growth) -> None:
    x, state = drawn(2, 6, 3), (torch.zeros(1, 2, 10, dtype=torch.float64),) * 2
    student = doubled.student
    with torch.no_grad():
        wanted = student(x, state)["logits"]
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}

    @torch.no_grad()
    def score(net: Any) -> float:
        return 1.0 - float((net(x, state)["logits"] - wanted).abs().max())

    scale = largest_harmless_noise(doubled, score, 0.02)
    assert 0.001 < scale < 1 and all(torch.equal(before[n], t) for n, t in student.state_dict().items())
    copy = doubled.replay(doubled.teacher)
    add_noise(copy, scale)
    assert score(copy.student) >= 0.98
    rows = copy.student.core.weight_hh_l0.reshape(4, 10, 10)
    assert rows[:, :5, 5:].all() and copy.student.policy.weight[:, 5:].all()  # old units hear new ones
    assert torch.equal(rows[:, :5, :5], student.core.weight_hh_l0.reshape(4, 10, 10)[:, :5, :5])
    louder = doubled.replay(doubled.teacher)
    add_noise(louder, 1.3 * scale)
    assert score(louder.student) < 0.98
    assert largest_harmless_noise(doubled, lambda net: 1.0) > 10


def test_noise_that_always_does_harm_or_has_no_place(doubled: net2net.Growth) -> None:
    calls = iter([1.0])
    assert largest_harmless_noise(doubled, lambda net: next(calls, 0.0)) == 0.0
    teacher = made(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)))
    with pytest.raises(net2net.OptionError, match="no new weights that are 0"):
        largest_harmless_noise(net2net.widen(teacher, {"0": 8}, drawn(4, 3), how="split"), lambda net: 1.0)
    for wrong in (-1.0, math.nan, "x"):
        with pytest.raises(net2net.OptionError, match="tolerance"):
            largest_harmless_noise(doubled, lambda net: 1.0, wrong)  # type: ignore[arg-type]
        with pytest.raises(net2net.OptionError, match="scale"):
            add_noise(doubled, wrong)  # type: ignore[arg-type]
    with pytest.raises(net2net.OptionError, match="the score of the student is nan"):
        largest_harmless_noise(doubled, lambda net: math.nan)


@pytest.mark.parametrize("make", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.SGD])
def test_gradients_are_cut_off_at_five_times_their_size(make: Any) -> None:
    weight = nn.Parameter(torch.zeros(3))
    optimizer = make([weight], lr=1e-3)
    sizes = torch.tensor([1.0, 1e-3, 2.0])
    for step in range(40):
        weight.grad = sizes * (1 if step % 2 else -1)
        optimizer.step()
    handle = clip(optimizer)
    weight.grad = torch.tensor([100.0, 1e-3, -2000.0])
    given = weight.grad.clone()
    optimizer.step()
    decay = 0.99 if make is torch.optim.RMSprop else 0.999
    moment = given.square() if make is torch.optim.SGD else decay * sizes.square() + (1 - decay) * given.square()
    if make is torch.optim.SGD:  # it knows of no size before the first gradient
        assert torch.equal(weight.grad, given)
    else:
        expected = torch.minimum(given.abs(), 5 * moment.sqrt()) * given.sign()
        assert torch.allclose(weight.grad, expected, rtol=0.2) and weight.grad[0] < 100
    handle.remove()
    weight.grad = given.clone()
    optimizer.step()
    assert torch.equal(weight.grad, given)


def test_a_growth_goes_on_with_the_sizes_that_its_optimizer_knows() -> None:
    teacher = made(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)))
    optimizer, x = torch.optim.Adam(teacher.parameters(), lr=1e-3), drawn(5, 3)
    for _ in range(3):
        optimizer.zero_grad()
        teacher(x).square().sum().backward()
        optimizer.step()
    growth = net2net.surgery(teacher, x, features={0: F(3, 4)})
    new = growth.optimizer(optimizer, clip=5.0)
    y = drawn(5, 4)
    y[:, 3] *= 1000  # a feature with no scale of its own yet
    growth.student(y).square().sum().mul(50).backward()
    before = growth.student[0].weight.grad.clone()
    new.step()
    after = growth.student[0].weight.grad
    assert (after.abs() < before.abs()).any() and after[:, 3].any() and (after.sign() == before.sign()).all()
    for wrong in (0, -1.0, "5", True):
        with pytest.raises(net2net.OptionError, match="clip="):
            growth.optimizer(optimizer, clip=wrong)


@pytest.mark.parametrize(("count", "share"), [(2, 0.05), (1, 0.5)])
def test_biases_of_new_classes_are_calibrated(count: int, share: float) -> None:
    teacher, x = made(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 10))), drawn(50, 3)
    growth = net2net.surgery(teacher, x, outputs={0: F(10, 10 + count, start=f"share:{share}")})
    found = growth.student(x).detach()
    probabilities = found.softmax(-1)[:, 10:].mean(0)
    assert torch.allclose(probabilities, torch.full_like(probabilities, share), atol=1e-6)
    assert torch.allclose(found[:, :10], teacher(x), rtol=1e-10, atol=1e-12)
    (change,) = growth.plan.changes
    assert change.summary()["moved"] == pytest.approx(float(found.softmax(-1)[:, 10:].sum(-1).max()))


def test_a_share_that_makes_no_sense() -> None:
    teacher, x = made(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))), drawn(5, 3)
    for wrong in ("share:0", "share:1.5", "share:many"):
        with pytest.raises(net2net.OptionError, match="is not known"):
            F(2, 3, start=wrong)
    with pytest.raises(net2net.OptionError, match="can't each have that much"):
        net2net.surgery(teacher, x, outputs={0: F(2, 5, start="share:0.4")})
    with pytest.raises(net2net.OptionError, match="has no meaning at the input"):
        net2net.surgery(made(nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2))), torch.arange(4), features={
            "input": F(4, 5, start="share:0.1")})  # fmt: skip
