"""Files that hold single experts where modules have all of them in one tensor: grown in a stream, as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from net2net.huggingface import NeedsMemory, grow_checkpoint, open_folder
from net2net.huggingface._folder import Part
from net2net.huggingface._parts import by_files, by_modules, parts_of
from net2net.plan import AxisMap, Noise, TensorPlan
from net2net.pretrained import bare_model
from zoo.huggingface_mixtures import MODELS

ZOO = {model.name: model for model in MODELS}
pytest.importorskip("transformers")


def saved(name: str, folder: Path, **how: Any) -> Any:
    model: Any = ZOO[name].build()
    model.eval().save_pretrained(folder, **how)
    return model


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("mixtral", {"intermediate_size": 60}),
        pytest.param("qwen3_moe", {"hidden_size": "2x", "moe_intermediate_size": 20}, marks=pytest.mark.sweep),
        pytest.param("granite_moe", {"intermediate_size": 52}, marks=pytest.mark.sweep),
    ],
)
def test_mixtures_grow_in_a_stream(name: str, sizes: dict[str, Any], tmp_path: Path) -> None:
    teacher = saved(name, tmp_path / "small", max_shard_size="20KB")
    growth = grow_checkpoint(tmp_path / "small", tmp_path / "big", sizes)
    assert growth.in_memory is None
    assert growth.verification is not None and growth.verification.dtype == "float64"
    student = type(teacher).from_pretrained(tmp_path / "big").eval()
    x = torch.randint(4, teacher.config.vocab_size, (2, 9))
    with torch.no_grad():
        ours, theirs = teacher(x).logits, student(x).logits
    assert float((ours - theirs).abs().max() / ours.abs().max()) <= 1e-5
    student.save_pretrained(tmp_path / "again")
    assert open_folder(tmp_path / "big").tensors.keys() == open_folder(tmp_path / "again").tensors.keys()


@pytest.mark.parametrize("name", ["mixtral", "olmoe", "gpt_oss", "granite_moe", "minimax_m2", "ernie4_5_moe"])
def test_tensors_of_modules_are_read_of_the_files(name: str, tmp_path: Path) -> None:
    """Entry by entry what transformers loads, whole and expert by expert."""
    expected = saved(name, tmp_path).state_dict()
    folder = open_folder(tmp_path)
    folder = by_modules(folder, bare_model(folder.model_class, folder.config))
    assert set(folder.tensors) >= expected.keys() - {"lm_head.weight"}
    for tensor in folder.tensors:
        assert torch.equal(folder.read(tensor), expected[tensor])
        if expected[tensor].dim() == 3:
            some = np.array([0, len(expected[tensor]) - 1])
            assert torch.equal(folder.read(tensor, some), expected[tensor][some])


def test_a_part_that_is_made_of_several_needs_memory(tmp_path: Path) -> None:
    saved("mixtral", tmp_path)
    folder = open_folder(tmp_path)
    model = bare_model(folder.model_class, folder.config)
    folder = by_modules(folder, model)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    shape = folder.tensors[name].shape
    parts = parts_of(model, {name})[name]
    assert parts[0] == Part("model.layers.0.block_sparse_moe.experts.0.w1.weight", 0, 0, shape[1] // 2)
    turned = TensorPlan(shape, (None, AxisMap(np.roll(np.arange(shape[1]), 1)), None))
    drawn = TensorPlan(shape, (None, None, None), noise=(Noise("paper", 0, 0.1),))
    for plan in (turned, drawn):
        with pytest.raises(NeedsMemory):
            by_files({name: plan}, folder, model)
    swapped = TensorPlan(shape, (AxisMap(np.roll(np.arange(shape[0]), 1), np.full(shape[0], 3.0)), None, None))
    found = by_files({name: swapped}, folder, model)
    second = found["model.layers.0.block_sparse_moe.experts.1.w3.weight"]
    assert (second.source, second.scale) == ("model.layers.0.block_sparse_moe.experts.0.w3.weight", 3.0)
    assert second == replace(second, shape=(shape[1] // 2, shape[2]), axes=(None, None))
