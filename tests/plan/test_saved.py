"""Plans that earlier versions saved are read, replayed and saved anew; those of later ones are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import net2net
from support import repeatable, trained

FOLDER = Path(__file__).parent / "saved"
X = torch.randn(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


@repeatable
def convnet() -> nn.Module:
    """The network whose growth each version saves: widen with how="split", noise="zero_sum", seed=5."""
    return trained(
        nn.Sequential(
            *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
            *(nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            *(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2)),
        )
    )


def header(file: Path) -> dict[str, str]:
    with safe_open(str(file), framework="pt") as opened:
        return dict(opened.metadata())


def test_version_0_1_0_had_no_format_number() -> None:
    """The file is what it is for: one that the code of today would not write."""
    data = json.loads(header(FOLDER / "0.1.0.safetensors")["net2net.plan"])
    assert data["version"] == "0.1.0" and "format" not in data and "changes" not in data


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.safetensors")), ids=lambda file: file.stem)
def test_a_plan_of_an_earlier_version_replays(file: Path, tmp_path: Path) -> None:
    plan = net2net.Plan.load(file)
    assert [[(c.makes, c.before, c.after, c.preserves) for c in step.changes] for step in plan.steps] == [
        [("deeper", 1, 2, "exact"), ("deeper", 1, 2, "exact")],
        [("wider", 4, 7, "exact"), ("wider", 5, 9, "exact")],
    ]
    teacher = convnet()
    student = net2net.replay(plan, teacher, X).student
    state = student.state_dict()
    assert all(state[name].shape == tensor.shape for name, tensor in plan.tensors.items())
    assert len(student) == len(teacher) + 4 and student[3].weight.shape == (9, 7, 3, 3)
    for mode in (True, False):
        a, b = (network.train(mode)(X).detach() for network in (teacher, student))
        assert float((a - b).abs().max() / a.abs().max()) < 1e-10
    plan.save(tmp_path / "anew.safetensors")
    assert json.loads(header(tmp_path / "anew.safetensors")["net2net.plan"])["format"] >= 2
    assert net2net.Plan.load(tmp_path / "anew.safetensors") == plan


def test_a_plan_of_a_later_format_is_refused_by_name(tmp_path: Path) -> None:
    data = json.loads(header(FOLDER / "0.1.0.safetensors")["net2net.plan"])
    later = json.dumps({**data, "format": 99, "version": "7.0.0"})
    save_file({"a0": torch.zeros(1)}, str(tmp_path / "later.safetensors"), metadata={"net2net.plan": later})
    with pytest.raises(net2net.OptionError, match=r"format 99, written by net2net 7\.0\.0.*Update net2net"):
        net2net.Plan.load(tmp_path / "later.safetensors")
