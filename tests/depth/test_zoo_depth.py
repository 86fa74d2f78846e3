"""Every model of the zoo, deeper, and deeper and wider in one call: exact, or refused for a known reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

import net2net
from deeper import equal_states, error, state
from support import in_float64
from zoo import TORCH_MODELS
from zoo.huggingface import FAMILIES, huggingface_models
from zoo.model import Inputs, ZooModel

HUGGINGFACE_MODELS = huggingface_models()
CORE = [model for model in HUGGINGFACE_MODELS if model.name in FAMILIES]

# Models in which nothing can be made deeper exactly, with a part of the reason that the refusal gives.
_NO_PLACE = "no block repeats or adds to a stream"
REFUSED = {
    "mlp_gated": _NO_PLACE,  # gates by halves
    "einsum_attention": _NO_PLACE,  # no layer at all: its weights are parameters
    "pixel_shuffle": "aten.tanh",
    "lstm_lm": "LSTM",
    "lstm_tagger": "LSTM",
    "lstm_projected": "LSTM",
    "gru_lm": "GRU",
    "rnn_classifier": "RNN",
    "lstmcell_loop": "LSTMCell",
    # transformers
    "albert": _NO_PLACE,  # one layer that runs again and again
    "deberta": "changes the stream",
    "bart": "eps of 1e-05",
}
# Places that a factor for all leaves out, beside layers with nothing to mirror: blocks that concatenate.
LEFT_OUT = {"shufflenet_v2": {"stages.0"}}
# Attention over one place, and a norm over one pixel, have no gradient in the teacher either.
_ONE_PLACE = ("poolformer", "segformer", "pvt")
# Networks of which a copy costs much time: they are left to the sweep.
_SLOW = (
    "inception_v3", "googlenet", "swin", "densenet", "resnext", "resnet_bottleneck", "unet_bilinear", "gpt_masked",
    "vit_multihead", "mobilenet_v3", "efficientnet", "lstm_projected", "gru_lm", "shufflenet_v2",
)  # fmt: skip


def marked(models: list[ZooModel], slow: tuple[str, ...] = _SLOW) -> list[Any]:
    return [pytest.param(m, id=m.name, marks=[pytest.mark.sweep] if m.name in slow else []) for m in models]


def teacher_of(model: ZooModel) -> tuple[torch.nn.Module, Inputs]:
    return model.build().double(), in_float64(model.inputs())


def model_of(model: torch.nn.Module) -> str:
    return str(getattr(getattr(model, "config", None), "model_type", ""))


def check(teacher: torch.nn.Module, growth: net2net.Growth, inputs: Inputs) -> None:
    """The growth's own proof, and the outputs compared once more without it."""
    verification = growth.verification
    assert verification.passed and verification.preserves == "exact", growth
    assert verification.max_relative_error <= verification.tolerance
    assert verification.dead == () or model_of(growth.student) in _ONE_PLACE
    assert type(growth.student) is type(teacher)
    assert error(teacher, growth.student, inputs) <= verification.tolerance


def deepened(model: ZooModel) -> net2net.Growth | None:
    """The model at twice the depth, checked; None if it is one that has to be refused, and was."""
    teacher, inputs = teacher_of(model)
    before = state(teacher)
    if model.name in REFUSED:
        with pytest.raises(net2net.GrowthError, match=re.escape(REFUSED[model.name])) as caught:
            net2net.deepen(teacher, "2x", inputs)
        assert not isinstance(caught.value, net2net.VerificationError)
        places = net2net.analyze(teacher, inputs).places.values()
        assert not any(place.growth == "exact" for place in places) and all(place.reason for place in places)
        return None
    growth = net2net.deepen(teacher, "2x", inputs)
    assert equal_states(before, state(teacher))
    check(teacher, growth, inputs)
    assert all(d.after == 2 * d.before for d in growth.plan.deepenings) and growth.plan.deepenings
    assert sum(p.numel() for p in growth.student.parameters()) > sum(p.numel() for p in teacher.parameters())
    return growth


@pytest.mark.thin(2)
@pytest.mark.parametrize("model", marked(TORCH_MODELS))
def test_twice_as_deep(model: ZooModel) -> None:
    growth = deepened(model)
    if growth is not None:
        left_out, grown = growth.plan.left_out, {d.place for d in growth.plan.deepenings}
        assert left_out.keys() >= LEFT_OUT.get(model.name, set())
        assert left_out.keys().isdisjoint(grown) and all(left_out.values())


BOTH = [model for model in TORCH_MODELS if model.name not in REFUSED]
_QUICK = ("mlp_batchnorm_gelu", "conv1d", "resnet_preact", "llama")


@pytest.mark.parametrize("model", marked(BOTH, tuple(m.name for m in BOTH if m.name not in _QUICK)))
def test_twice_as_deep_and_wide(model: ZooModel) -> None:
    """One call, one plan, one proof; every new layer is widened with the old ones."""
    teacher, inputs = teacher_of(model)
    growth = net2net.grow(teacher, inputs, where="2x", sizes=2.0)
    check(teacher, growth, inputs)
    assert growth.plan.earlier is not None and growth.plan.earlier.deepenings and growth.plan.widenings
    assert all(w.after == 2 * w.before for w in growth.plan.widenings)


@pytest.mark.sweep
@pytest.mark.parametrize("model", CORE, ids=str)
def test_every_family_twice_as_deep(model: ZooModel, tmp_path: Path) -> None:
    """Exact, and the same network after the disk: the config says what the class needs to make its layers."""
    growth = deepened(model)
    if growth is None:
        return
    student, inputs = growth.student.float(), model.inputs()
    student.save_pretrained(tmp_path)
    loaded = type(student).from_pretrained(tmp_path).eval()
    assert error(student, loaded, inputs) <= 1e-6 and error(model.build(), loaded, inputs) <= 1e-5


@pytest.mark.sweep
@pytest.mark.parametrize("model", [m for m in HUGGINGFACE_MODELS if m not in CORE], ids=str)
def test_every_other_family_is_exact_or_refused(model: ZooModel) -> None:
    teacher, inputs = teacher_of(model)
    try:
        growth = net2net.deepen(teacher, "2x", inputs)
    except net2net.GrowthError as refusal:
        assert not isinstance(refusal, net2net.VerificationError), refusal
    else:
        check(teacher, growth, inputs)
