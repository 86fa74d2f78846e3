"""Every failure that the random networks found, as the smallest network that shows it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import net2net
from zoo.model import awaken


def grown(model: nn.Module, sizes: float | dict[str, int], inputs: Tensor, **options: str) -> net2net.Growth:
    """The growth of a network whose parameters are not at their defaults."""
    return net2net.widen(awaken(model.double()), sizes, inputs.double(), **options)


class _Repeated(nn.Module):
    """Two values, each repeated: units of the repetition are equal, and never 0."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 3
        self.few = nn.Linear(4, 2)
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.few(x).repeat_interleave(self.times, dim=-1))


def test_new_repetitions_of_a_value_are_not_silent_by_themselves() -> None:
    teacher, x = awaken(_Repeated().double()), torch.randn(3, 4).double()
    analysis = net2net.analyze(teacher, x)
    name = next(d.name for d in analysis.dimensions.values() if d.size == 3)
    growth = net2net.widen(teacher, {name: 5}, x, how="zero_out")
    assert growth.student.times == 5
    assert torch.allclose(growth.student(x), teacher(x), atol=1e-12)


def test_a_channel_shuffle_keeps_its_number_of_groups() -> None:
    shuffled = nn.Sequential(nn.Conv2d(2, 6, 1), nn.ChannelShuffle(3), nn.Conv2d(6, 2, 1))
    growth = grown(shuffled, {"0": 12}, torch.randn(2, 2, 4, 4))
    assert growth.student[0].out_channels == 12
    assert growth.student[1].groups == 3


class _PooledHalves(nn.Module):
    """Two halves of one convolution, each pooled: a pool makes new entries, it doesn't only move them."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Conv2d(2, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        left, right = self.both(x).chunk(2, dim=-3)
        return self.out(self.pool(left).flatten(1) * self.pool(right).mean((-2, -1)))


def test_pooled_parts_of_a_fused_layer_grow() -> None:
    growth = grown(_PooledHalves(), {"both": 12}, torch.randn(2, 2, 3, 3))
    assert growth.student.out.in_features == 6
    assert growth.verification.passed


def test_a_module_path_means_its_output_width() -> None:
    growth = grown(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), {"1": 7}, torch.randn(2, 3))
    assert growth.student[0].out_features == 7


class _ShiftedRepetitions(nn.Module):
    """A value that is repeated, shifted by a parameter of its own for each repetition, and summed again."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 3
        self.few = nn.Linear(4, 5)
        self.shift = nn.Parameter(torch.randn(3))
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        repeated = self.few(x).unsqueeze(-1).expand(-1, -1, self.times)
        return self.out((repeated + self.shift).sum(-1))


def test_shares_of_repetitions_of_a_value_have_no_place() -> None:
    with pytest.raises(net2net.FixedDimensionError):
        grown(_ShiftedRepetitions(), {"shift[0]": 6}, torch.randn(3, 4), how="split")
