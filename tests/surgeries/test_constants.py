"""Features that go: what they have become goes into the biases behind them, or they stay."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import Frames, Normalised, Recurrent, drawn, made

pytestmark = pytest.mark.filterwarnings("error")
WITHOUT_B = {"obs": F(["a", "b", "c"], ["c", "a"], constants={"b": 0.7})}


def error(reference: Tensor, other: Tensor) -> float:
    return float((reference - other).detach().abs().max() / reference.detach().abs().max())


def stuck(*shape: int, seed: int = 1, axis: int = -1) -> Tensor:
    x = drawn(*shape, seed=seed)
    x.select(axis, 1).fill_(0.7)
    return x


def test_behind_a_normaliser() -> None:
    teacher = made(Normalised())
    student = net2net.surgery(teacher, stuck(5, 3), features=WITHOUT_B).student
    y = stuck(9, 3, seed=4)
    assert error(teacher(y), student(y[:, [2, 0]])) <= 1e-10
    assert torch.equal(student.mean, teacher.mean[[2, 0]])


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_into_one_of_the_two_biases_of_a_recurrent_layer(kind: str) -> None:
    teacher = made(Recurrent(kind))
    student = net2net.surgery(teacher, (stuck(2, 6, 3),), features=WITHOUT_B).student
    y = stuck(2, 11, 3, seed=4)
    assert error(teacher(y)["logits"], student(y[..., [2, 0]])["logits"]) <= 1e-10
    assert torch.equal(student.core.bias_hh_l0, teacher.core.bias_hh_l0)
    assert not torch.equal(student.core.bias_ih_l0, teacher.core.bias_ih_l0)


def test_a_channel_of_images() -> None:
    teacher = made(Frames(3))
    features = {"frames": F(["a", "b", "c"], ["c", "new", "a"], constants={"b": 0.7}, axis=1)}
    student = net2net.surgery(teacher, stuck(3, 3, 5, 5, axis=1), features=features).student
    y = stuck(3, 3, 5, 5, seed=4, axis=1)
    given = torch.stack([y[:, 2], drawn(3, 5, 5, seed=5), y[:, 0]], 1)
    assert error(teacher(y)["q_values"], student(given)["q_values"]) <= 1e-10


class Joined(nn.Module):
    """Two inputs laid end to end, and one of them read once more by another layer."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.both, self.alone = nn.Linear(5, 4), nn.Linear(3, 4, bias=bias)

    def forward(self, goal: Tensor, obs: Tensor) -> Tensor:
        return torch.tanh(self.both(torch.cat([goal, obs], -1))) * self.alone(2 * obs)


def test_every_layer_that_reads_it_takes_it_over() -> None:
    teacher = made(Joined())
    student = net2net.surgery(teacher, (drawn(5, 2), stuck(5, 3)), features=WITHOUT_B).student
    goal, y = drawn(9, 2, seed=3), stuck(9, 3, seed=4)
    assert error(teacher(goal, y), student(goal, y[:, [2, 0]])) <= 1e-10


def test_without_a_bias_only_a_zero_can_go() -> None:
    teacher = made(Joined(bias=False))
    with pytest.raises(net2net.FixedDimensionError, match=r"in 'alone' has no bias"):
        net2net.surgery(teacher, (drawn(5, 2), stuck(5, 3)), features=WITHOUT_B)
    x = stuck(5, 3)
    x[:, 1] = 0
    zero = {"obs": F(["a", "b", "c"], ["c", "a"], constants={"b": 0})}
    with pytest.raises(net2net.FixedDimensionError):  # 2 * 0 is a formula, whose value a plan doesn't know
        net2net.surgery(teacher, (drawn(5, 2), x), features=zero)
    plain = made(nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2)))
    assert net2net.surgery(plain, x, features={0: zero["obs"]}).verification.passed


def test_zeros_around_an_image_are_no_constant() -> None:
    teacher = made(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()))
    features = {0: F(["a", "b", "c"], ["c", "a"], constants={"b": 0.7}, axis=1)}
    with pytest.raises(net2net.FixedDimensionError, match="pads with zeros"):
        net2net.surgery(teacher, stuck(3, 3, 5, 5, axis=1), features=features)


IMAGES = {0: F(["a", "b", "c"], ["c", "a"], constants={"b": 0.7}, axis=1)}


def removed(teacher: nn.Module, *shape: int, **words: Any) -> float:
    """The error of a student without the constant feature, in both modes, on other inputs."""
    axis = 1 if len(shape) > 2 else -1
    features = {0: F(["a", "b", "c"], ["c", "a"], constants={"b": 0.7}, axis=axis, **words)}
    student = net2net.surgery(teacher, stuck(*shape, axis=axis), features=features).student
    y, found = stuck(*shape, seed=4, axis=axis), 0.0
    for mode in (True, False):
        old = y.index_select(axis, torch.tensor([2, 0]))
        found = max(found, error(teacher.train(mode)(y), student.train(mode)(old)))
    return found


@pytest.mark.parametrize("statistics", [True, False])
def test_the_mean_of_a_batch_norm_takes_over_what_a_layer_without_bias_can_not(statistics: bool) -> None:
    norm = nn.BatchNorm2d(4, track_running_stats=statistics)
    teacher = made(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm, nn.ReLU()))
    assert removed(teacher, 3, 3, 5, 5) <= 1e-10


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_what_is_put_around_an_image_may_be_the_constant(mode: str) -> None:
    assert (
        removed(made(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode=mode), nn.ReLU())), 3, 3, 5, 5) <= 1e-10
    )


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_whose_mean_has_come_to_the_constant(affine: bool) -> None:
    teacher = made(nn.Sequential(nn.BatchNorm1d(3, affine=affine), nn.Linear(3, 2)))
    with pytest.raises(net2net.FixedDimensionError, match="running mean there isn't that yet"):
        removed(teacher, 5, 3)
    teacher[0].running_mean[1], teacher[0].running_var[1] = 0.7, 1e-20
    assert removed(teacher, 5, 3) <= 1e-10
    assert removed(made(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 2))), 5, 3) <= 1e-10


def test_a_product_and_a_sum_are_a_layer_too() -> None:
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))

        def forward(self, obs: Tensor) -> Tensor:
            return torch.tanh(obs @ self.weight + self.bias)

    assert removed(made(Written()), 5, 3) <= 1e-10


class Standardised(nn.Module):
    """Brought to one size by statistics for all that is laid end to end, or of all frames."""

    def __init__(self, places: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-0.5, 1.0, places))
        self.layer = nn.Linear(places, 4)

    def forward(self, obs: Tensor, goal: Tensor) -> Tensor:
        x = torch.cat([goal, obs.flatten(1)], -1)
        return torch.tanh(self.layer(x - self.mean))


def test_statistics_of_more_than_the_features() -> None:
    teacher, x = made(Standardised(5)), stuck(5, 3)
    features = {0: F(["a", "b", "c"], ["a", "c"], constants={"b": 0.7})}
    goal, y = drawn(5, 2), stuck(5, 3, seed=4)
    student = net2net.surgery(teacher, (x, goal), features=features).student
    assert error(teacher(y, goal), student(y[:, [0, 2]], goal)) <= 1e-10
    frames = drawn(5, 2, 3)
    frames[..., 1] = 0.7
    with pytest.raises(net2net.FixedDimensionError, match="'mean' has several numbers for one feature"):
        net2net.surgery(made(Standardised(8)), (frames, goal), features=features)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.ConvTranspose2d(3, 4, 3), "makes no constant of one"),
        (nn.Conv2d(3, 6, 3, groups=3), "can't"),
        (nn.Conv2d(3, 4, 3, padding="same"), "pads with zeros"),
        (nn.Conv2d(3, 4, 3, bias=False), "Give it a bias of zeros first"),
    ],
)
def test_what_has_no_place_for_a_constant(layer: nn.Module, message: str) -> None:
    with pytest.raises(net2net.FixedDimensionError, match=message):
        net2net.surgery(made(nn.Sequential(layer, nn.ReLU())), stuck(3, 3, 5, 5, axis=1), features=IMAGES)


def test_a_live_feature_stays() -> None:
    with pytest.raises(net2net.FixedDimensionError, match="'b' of the input 'obs' is live"):
        net2net.surgery(made(Normalised()), drawn(5, 3), features=WITHOUT_B)


def test_the_constant_has_to_be_said() -> None:
    with pytest.raises(net2net.OptionError, match=r"which constant it has become, constants=\{'b'"):
        net2net.surgery(made(Normalised()), stuck(5, 3), features={"obs": F(["a", "b", "c"], ["a", "c"])})


def test_a_bias_that_others_add_too_stays() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.goal = nn.Linear(3, 4), nn.Linear(2, 3)

        def forward(self, obs: Tensor, goal: Tensor) -> Tensor:
            return self.layer(obs) + self.layer(torch.cat([self.goal(goal)], -1))

    with pytest.raises(net2net.GrowthError):
        net2net.surgery(made(Twice()), (stuck(5, 3), drawn(5, 2)), features=WITHOUT_B)


def test_an_action_goes_with_a_word_of_what_it_had() -> None:
    teacher, x = made(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))), drawn(5, 3)
    student = net2net.surgery(teacher, x, outputs={0: F(["a", "b", "c"], ["c", "a"])}).student
    assert error(teacher(x)[:, [2, 0]], student(x)) <= 1e-10
