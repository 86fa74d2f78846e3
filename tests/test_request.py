"""What users may ask for: inputs, sizes and keys in every form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.analysis import new_size
from support import (
    X,
    from_zoo,
    mlp,
    name_at,
    trained,
    widen_at,
)


class TwoInputs(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.left, self.right, self.last = nn.Linear(4, hidden), nn.Linear(3, hidden), nn.Linear(hidden, 2)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        return {"y": self.last(torch.relu(self.left(left) + self.right(right)) * scale)}


def test_example_inputs_in_every_form() -> None:
    teacher, y = trained(TwoInputs()), torch.randn(3, 3, dtype=torch.float64)
    for inputs in ((X, y), {"left": X, "right": y}, {"left": X, "right": y, "scale": 2.0}):
        growth = widen_at(teacher, {"left.weight": 11}, inputs)
        assert growth.verification.errors.keys() == {
            f"{label}/y" for label in ("eval/given", "eval/random", "eval/normal", "train/given", "train/random")
        }
    assert net2net.widen(mlp(), {"0": 9}, (X,)).student[0].out_features == 9


@pytest.mark.parametrize(
    ("wanted", "after"), [(12, 12), (1.5, 12), ("2x", 16), ("1.25x", 10), ("11", 11), (" 2X ", 16)]
)
def test_sizes_in_every_form(wanted: Any, after: int) -> None:
    assert new_size(wanted, 8, "0") == after
    assert net2net.widen(mlp(), {"0": wanted}, X).student[0].out_features == after


def test_a_factor_for_everything() -> None:
    for factor in (1.5, "1.5x"):
        student = net2net.widen(mlp(), factor, X).student
        assert (student[0].out_features, student[2].out_features, student[4].out_features) == (12, 9, 2)


def test_keys_are_dimensions_module_paths_or_globs() -> None:
    teacher, x = from_zoo("resnet_basic")
    stage = name_at(teacher, x, "layers.1.0.conv2.weight")
    for key in (stage, "layers.1.1", "layers.1", "layers.1.0.bn2"):
        student = net2net.widen(teacher, {key: 20}, x).student
        assert student.fc.in_features == 20 and student.layers[0][0].conv1.out_channels == 8, key
    student = net2net.widen(teacher, {"layers.*.conv1": 2.0, "bn1": 13}, x).student
    assert [block.conv1.out_channels for stage in student.layers for block in stage] == [16, 16, 28, 28]
    assert student.conv1.out_channels == 13
    teacher, x = from_zoo("vit")
    student = net2net.widen(teacher, {"blocks.?.mlp.act": 50}, x).student
    assert [block.mlp.fc1.out_features for block in student.blocks] == [50, 50]


def test_a_module_path_means_its_output_width_in_whole_blocks() -> None:
    teacher, x = from_zoo("resnet_groupnorm")
    assert net2net.widen(teacher, {"conv1": 15}, x).student.bn1.num_groups == 5
    with pytest.raises(net2net.SizeError, match="15 or 18"):
        net2net.widen(teacher, {"conv1": 16}, x)
