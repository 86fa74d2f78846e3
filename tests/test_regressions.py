"""Every failure that the random networks found, as the smallest network that shows it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from zoo.model import awaken

import net2net


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
