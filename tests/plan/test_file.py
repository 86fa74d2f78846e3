"""A plan on disk is the same plan, and makes the same student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import net2net
from net2net.apply import grow_state
from support import X, from_zoo, mlp

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize("options", [{}, {"how": "split", "noise": "zero_sum"}, {"how": "pair"}])
def test_a_plan_survives_the_disk(tmp_path: Path, options: dict[str, str]) -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, {"0": 13}, X, **options)
    growth.plan.save(tmp_path / "plan.safetensors")
    plan = net2net.Plan.load(tmp_path / "plan.safetensors")
    assert plan == growth.plan
    state = grow_state(plan, dict(teacher.state_dict()))
    for name, tensor in growth.student.state_dict().items():
        assert torch.equal(state[name], tensor), name


def test_a_plan_with_rescaled_norms_survives_the_disk(tmp_path: Path) -> None:
    teacher, inputs = from_zoo("llama")
    plan = net2net.widen(teacher, 2.0, inputs).plan
    plan.save(tmp_path / "plan.safetensors")
    assert net2net.Plan.load(tmp_path / "plan.safetensors") == plan


@pytest.mark.parametrize("content", [b"", b"not a plan", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(net2net.OptionError, match="is no plan"):
        net2net.Plan.load(tmp_path / "other")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(net2net.OptionError, match="is no plan"):
        net2net.Plan.load(tmp_path / "missing")
