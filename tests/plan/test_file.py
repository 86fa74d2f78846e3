"""A plan on disk is the same plan, and makes the same student."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import net2net
from net2net.apply import grow_state
from net2net.axes import Atom, Concat, Product
from net2net.plan import AxisMap
from net2net.sites import compose
from support import X, from_zoo, mlp


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
    with pytest.raises(net2net.OptionError, match="is not a plan"):
        net2net.Plan.load(tmp_path / "other")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(net2net.OptionError, match="is not a plan"):
        net2net.Plan.load(tmp_path / "missing")


@pytest.mark.parametrize(("term", "before"), [(Concat, 9), (Product, 20)])
def test_a_map_knows_the_size_of_the_teachers_axis(term: type[Concat] | type[Product], before: int) -> None:
    """Also where the last places of the teacher are gone, in concatenations and products of axes."""
    first, second = Atom(5), Atom(4)
    maps = {first: AxisMap(np.array([0, 2, -1]), before=5), second: AxisMap(np.array([1, 0]), before=4)}
    found = compose(term((first, second)), lambda atom: maps[atom])
    assert found.before == before
    assert AxisMap.from_data(found.data(lambda array: "a"), {"a": found.source}).before == before
    assert AxisMap(np.array([0, 2, -1])).before == 3
