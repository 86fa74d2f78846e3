"""Every model of the zoo, wider: all dimensions at once, at awkward sizes, and one dimension at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils import _pytree as pytree

import net2net
from net2net.capture import named_outputs, split_inputs
from zoo import TORCH_MODELS
from zoo.huggingface import FAMILIES, REFUSED, huggingface_models
from zoo.model import Inputs, ZooModel

HUGGINGFACE_MODELS = huggingface_models()
ALL_MODELS = TORCH_MODELS + HUGGINGFACE_MODELS
CORE = [m for m in HUGGINGFACE_MODELS if m.name in FAMILIES]


def in_float64(model: ZooModel) -> tuple[torch.nn.Module, Inputs]:
    return in_dtype(model, torch.float64)


def in_dtype(model: ZooModel, dtype: torch.dtype) -> tuple[torch.nn.Module, Inputs]:
    inputs = pytree.tree_map_only(torch.Tensor, lambda t: t.to(dtype) if t.is_floating_point() else t, model.inputs())
    return model.build().to(dtype), inputs


def check(teacher: torch.nn.Module, growth: net2net.Growth, inputs: Inputs) -> None:
    """The growth's own proof, and the outputs compared once more without it."""
    assert growth.verification.passed, growth
    assert growth.verification.max_relative_error <= growth.verification.tolerance
    has_batch_norm = any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in teacher.modules())
    assert any(key.startswith("train/") for key in growth.verification.errors) or not has_batch_norm
    assert type(growth.student) is type(teacher)
    args, kwargs = split_inputs(inputs)
    with torch.no_grad():
        ours, theirs = (named_outputs(m(*args, **kwargs)) for m in (teacher, growth.student))
    for name in pytree.tree_leaves([k for k in ours if k in theirs]):
        if isinstance(ours[name], torch.Tensor) and "past_key_values" not in name:
            error = float((ours[name] - theirs[name]).abs().max() / ours[name].abs().max())
            assert error <= growth.verification.tolerance, (name, error)


def kinds(names: list[str]) -> list[str]:
    """One name of each kind: repeated layers have the same dimensions."""
    return list({re.sub(r"\d+", "*", name): name for name in reversed(names)}.values())[::-1]


# They cut inside blocks, sum over a product of three tensors, or have weights for the positions of an image.
WITH_FIXED_WIDTHS = {"shufflenet_v2", "einsum_attention", "vit", "vit_multihead", "mlp_mixer"}


def awkward(size: int) -> Iterator[int]:
    yield from dict.fromkeys((size + 1, 2 * size - 1, 3 * size))


@pytest.mark.thin(3)
@pytest.mark.filterwarnings("ignore:new entries get gradients")
@pytest.mark.parametrize("model", TORCH_MODELS + CORE, ids=str)
def test_twice_as_wide(model: ZooModel) -> None:
    teacher, inputs = in_float64(model)
    growth = net2net.widen(teacher, 2.0, inputs)
    check(teacher, growth, inputs)
    if model in TORCH_MODELS:
        assert bool(growth.plan.left_out) == (model.name in WITH_FIXED_WIDTHS)


@pytest.mark.thin(5)
@pytest.mark.filterwarnings("ignore:new entries get gradients")
@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("model", TORCH_MODELS, ids=str)
@pytest.mark.parametrize("how", ["split", "pair"])
def test_other_ways(model: ZooModel, how: str) -> None:
    teacher, inputs = in_float64(model)
    try:
        growth = net2net.widen(teacher, 2.0, inputs, how=how)
    except net2net.GrowthError as refusal:
        assert not isinstance(refusal, net2net.VerificationError)
        # Pairs are not silent on a normalised stream; copies are possible but for a weight tied across a ReLU.
        assert how == "pair" or model.name == "tied_linears", refusal
    else:
        check(teacher, growth, inputs)
        assert {w.how for w in growth.plan.widenings} == {how}


def one_at_a_time(model: ZooModel, names: list[str]) -> int:
    """Grow each dimension by itself to an awkward size. Exact or refused; returns how many grew."""
    teacher, inputs = in_float64(model)
    grown = 0
    for name in names:
        for size in awkward(dimensions(model)[name].size):
            try:
                growth = net2net.widen(teacher, {name: size}, inputs)
            except net2net.GrowthError as refusal:
                assert not isinstance(refusal, net2net.VerificationError), (name, size, refusal)
                assert name in str(refusal) or isinstance(refusal, net2net.CouplingError), refusal
                if isinstance(refusal, net2net.CouplingError):
                    break
            else:
                check(teacher, growth, inputs)
                assert [(w.dimension, w.after) for w in growth.plan.widenings] == [(name, size)]
                grown += 1
                break
    return grown


@cache
def dimensions(model: ZooModel) -> dict[str, net2net.Dimension]:
    teacher, inputs = in_float64(model)
    return net2net.analyze(teacher, inputs).dimensions


# A refusal looks for the dimensions that have to grow together, by drafts of the whole network.
SLOW = {"transformer_seq2seq", "swin"}


@pytest.mark.thin(5)
@pytest.mark.parametrize("model", [m for m in TORCH_MODELS if m.name not in SLOW], ids=str)
@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_one_dimension_at_a_time(model: ZooModel) -> None:
    growable = [n for n, d in dimensions(model).items() if d.growth != "fixed"]
    assert one_at_a_time(model, kinds(growable)[-3:]) > 0


@pytest.mark.sweep
@pytest.mark.parametrize("model", ALL_MODELS, ids=str)
def test_every_dimension_by_itself(model: ZooModel) -> None:
    growable = [n for n, d in dimensions(model).items() if d.growth != "fixed"]
    one_at_a_time(model, kinds(growable) if model in HUGGINGFACE_MODELS else growable)


@pytest.mark.sweep
@pytest.mark.parametrize("model", HUGGINGFACE_MODELS, ids=str)
def test_every_family_twice_as_wide(model: ZooModel) -> None:
    teacher, inputs = in_float64(model)
    if model.name in REFUSED:
        with pytest.raises(net2net.GrowthError, match=re.escape(REFUSED[model.name])):
            net2net.widen(teacher, 2.0, inputs)
    else:
        check(teacher, net2net.widen(teacher, 2.0, inputs), inputs)


@pytest.mark.thin(4)
@pytest.mark.parametrize("name", ["gpt2", "mistral", "qwen3", "gemma", "opt", "bert", "t5", "bart", "vit"])
def test_a_student_survives_saving_and_loading(name: str, tmp_path: Path) -> None:
    model = next(m for m in HUGGINGFACE_MODELS if m.name == name)
    growth = net2net.widen(model.build(), 2.0, model.inputs())
    growth.student.save_pretrained(tmp_path)
    loaded = type(growth.student).from_pretrained(tmp_path).eval()
    assert net2net.verify(model.build(), loaded, model.inputs()).passed


@pytest.mark.thin(2)
@pytest.mark.parametrize("name", ["resnet_basic", "vit", "lstm_tagger", "gpt2", "mistral"])
def test_float32_and_bfloat16(name: str) -> None:
    model = next(m for m in ALL_MODELS if m.name == name)
    for dtype in (torch.float32, torch.bfloat16):
        teacher, inputs = in_dtype(model, dtype)
        growth = net2net.widen(teacher, 2.0, inputs)
        assert growth.verification.passed
        assert {p.dtype for p in growth.student.parameters()} == {dtype}
