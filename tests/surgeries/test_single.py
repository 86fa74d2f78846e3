"""Axes of one place: a greyscale image, a single observation, a single output; and what is known of new features."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import Gaussian, Normalised, Recurrent, TwinCritics, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


def error(reference: Tensor, other: Tensor) -> float:
    return float((reference - other).detach().abs().max() / reference.detach().abs().max())


def norm_first() -> nn.Module:
    rest = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    return nn.Sequential(nn.BatchNorm2d(1), *rest)


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 2)),
        nn.Sequential(nn.Flatten(), nn.Linear(25, 4), nn.Tanh()),
        norm_first(),
    ],
    ids=["convolution", "flattened", "normalised"],
)
def test_a_greyscale_image_gets_colours(network: nn.Module) -> None:
    teacher = made(network)
    student = net2net.surgery(teacher, drawn(3, 1, 5, 5), features={0: F(["grey"], ["r", "grey", "b"], axis=1)}).student
    y = drawn(4, 3, 5, 5, seed=3)
    for mode in (True, False):
        assert error(teacher.train(mode)(y[:, 1:2]), student.train(mode)(y)) <= 1e-10
    student(y).sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in student.parameters())


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_one_observation_and_one_output_of_a_recurrent_policy(kind: str) -> None:
    teacher = made(Recurrent(kind, features=1, actions=1))
    wanted: dict[str, Any] = {"logits": F(1, 3, start="zero"), "value": F(["v"], ["w", "v"], start=0.5)}
    student = net2net.surgery(teacher, (drawn(2, 6, 1),), features={"obs": F(1, 2)}, outputs=wanted).student
    y = drawn(2, 9, 2, seed=3)
    old, new = teacher(y[..., :1]), student(y)
    assert error(old["logits"], new["logits"][..., :1]) <= 1e-10 and not new["logits"][..., 1:].any()
    assert error(old["value"], new["value"][..., 1:]) <= 1e-10 and (new["value"][..., 0] == 0.5).all()


def test_one_action_of_a_gaussian_policy_and_one_of_two_critics() -> None:
    teacher, x = made(Gaussian(actions=1)), drawn(5, 3)
    outputs = {0: F(1, 2, start="zero"), 1: F(1, 2, start=-1.0)}
    mean, log_std = net2net.surgery(teacher, x, outputs=outputs).student(x)
    assert error(teacher(x)[0], mean[:, :1]) <= 1e-10 and (log_std[:, 1] == -1).all()
    critics, given = made(TwinCritics()), (drawn(4, 3), drawn(4, 2))
    first, second = net2net.surgery(critics, given, outputs={0: F(1, 2, start="zero")}).student(*given)
    assert error(critics(*given)[0], first[:, :1]) <= 1e-10 and second.shape == (4, 1)


class Gated(nn.Module):
    """A number that is stretched over all features, and one that is laid beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(5, 4), nn.Linear(4, 1)

    def forward(self, obs: Tensor, gate: Tensor, goal: Tensor) -> Tensor:
        return self.head(torch.tanh(self.layer(torch.cat([obs * gate, goal], -1)))).squeeze(-1)


def test_what_one_place_is_to_the_network_decides() -> None:
    teacher, given = made(Gated()), (drawn(4, 4), drawn(4, 1), drawn(4, 1, seed=2))
    student = net2net.surgery(teacher, given, features={"goal": F(1, 3)}).student
    goal = drawn(4, 3, seed=5)
    assert error(teacher(*given[:2], goal[:, :1]), student(*given[:2], goal)) <= 1e-10
    with pytest.raises(net2net.FixedDimensionError, match="it is stretched to 4 places"):
        net2net.surgery(teacher, given, features={"gate": F(1, 2)})
    with pytest.raises(net2net.FixedDimensionError, match="no features along axis 0"):
        net2net.surgery(teacher, given, outputs={0: F(4, 5, start="zero", axis=0)})


class Brought(nn.Module):
    """Features brought to one size, in one of the ways that people write."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.layer = way, nn.Linear(3, 4)
        self.register_buffer("shift", torch.rand(3))
        self.register_buffer("size", torch.rand(3) + 0.5)

    def forward(self, obs: Tensor) -> Tensor:
        shift, size = self.shift, self.size
        ways = {
            "std": lambda: (obs - shift) / (size + 1e-6),
            "1/std": lambda: (obs - shift) * size,
            "var": lambda: (obs - shift) * torch.rsqrt(size + 1e-5),
            "minus mean": lambda: (obs + shift) / size.clamp(min=1e-3),
            "affine": lambda: obs * size + shift,
        }
        return torch.tanh(self.layer(ways[self.way]()))


KNOWN = F(["a", "b", "c"], ["a", "n", "b", "c"], statistics={"n": (3.0, 4.0)})


@pytest.mark.parametrize(
    ("way", "shift", "size"), [("std", 3, 2), ("1/std", 3, 0.5), ("var", 3, 4), ("minus mean", -3, 2)]
)
def test_known_means_and_variances_of_new_features(way: str, shift: float, size: float) -> None:
    growth = net2net.surgery(made(Brought(way)), drawn(5, 3), features={0: KNOWN})
    assert (growth.student.shift[1], growth.student.size[1]) == (shift, size)
    again = net2net.replay(growth.plan, made(Brought(way), 4), drawn(5, 3)).student
    assert (again.shift[1], again.size[1]) == (shift, size)


def test_known_means_in_a_batch_norm_and_a_running_normaliser() -> None:
    norm = net2net.surgery(made(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))), drawn(5, 3), features={0: KNOWN})
    assert (norm.student[0].running_mean[1], norm.student[0].running_var[1], norm.student[0].weight[1]) == (3, 4, 1)
    own = net2net.surgery(made(Normalised()), drawn(5, 3), features={0: KNOWN}).student
    assert (own.mean[1], own.var[1]) == (3, 4)
    with pytest.raises(net2net.OptionError, match="'shift' is neither a mean nor a variance"):
        net2net.surgery(made(Brought("affine")), drawn(5, 3), features={0: KNOWN})
