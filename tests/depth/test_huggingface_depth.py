"""Hugging Face models with more layers: the config says so, and what is saved loads as the same network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import net2net
from deeper import error, exact, state
from support import refused
from zoo.huggingface import huggingface_models
from zoo.huggingface_build import tokens, zoo
from zoo.huggingface_causal import OWN_HEAD
from zoo.model import Inputs

MODELS = {model.name: model for model in huggingface_models()}
ALTERNATING = {
    **OWN_HEAD,
    "query_pre_attn_scalar": 8,
    "sliding_window": 3,
    "layer_types": ["sliding_attention", "full_attention"],
}
pytestmark = pytest.mark.skipif(not MODELS, reason="transformers is not installed")


def from_zoo(name: str) -> tuple[Any, Inputs]:
    """A family of the zoo and its inputs, in float32: that is what is stored."""
    return MODELS[name].build(), MODELS[name].inputs()


def round_trip(student: Any, path: Path) -> Any:
    """The student as another process would load it."""
    student.save_pretrained(path)
    return type(student).from_pretrained(path).eval()


@pytest.mark.parametrize(
    ("name", "stack", "more", "settings"),
    [
        ("llama", "model.layers", 3, {"num_hidden_layers": 5}),
        pytest.param("gpt2", "transformer.h", 1, {"n_layer": 3}, marks=pytest.mark.sweep),
        pytest.param("bert", "bert.encoder.layer", 2, {"num_hidden_layers": 4}, marks=pytest.mark.sweep),
        ("t5", "decoder.block", 2, {"num_decoder_layers": 5, "num_layers": 2}),
        ("swin", "swin.encoder.layers.1.blocks", 2, {"depths": [2, 4]}),  # drop rates by the number of layers
    ],
)
def test_saved_and_loaded_again(name: str, stack: str, more: int, settings: dict[str, Any], tmp_path: Path) -> None:
    """Same outputs after the disk, from the config alone; every key of the checkpoint is one of the model."""
    teacher, inputs = from_zoo(name)
    before = teacher.config.to_dict()
    growth = exact(teacher, {stack: more}, inputs, tolerance=1e-5)
    assert teacher.config.to_dict() == before
    assert {key: getattr(growth.student.config, key) for key in settings} == settings
    loaded = round_trip(growth.student, tmp_path)
    assert {key: getattr(loaded.config, key) for key in settings} == settings
    assert state(loaded).keys() == state(growth.student).keys()
    assert error(growth.student, loaded, inputs) <= 1e-6 and error(teacher, loaded, inputs) <= 1e-5


@pytest.mark.parametrize("more", [2, pytest.param([1, -1, 0], marks=pytest.mark.sweep)], ids=str)
def test_layers_of_alternating_types(more: Any, tmp_path: Path) -> None:
    """A copy of a layer with a sliding window has one, too, wherever it stands: the config lists the type of each."""
    (family,) = zoo([("gemma3", "Gemma3ForCausalLM", ALTERNATING)], lambda s: {"input_ids": tokens(s["vocab_size"], 7)})
    teacher, inputs = family.build(), family.inputs()
    growth = exact(teacher, {"model.layers": more}, inputs, tolerance=1e-5)
    sources = growth.plan.deepenings[0].sources
    expected = [ALTERNATING["layer_types"][source] for source in sources]
    assert sources == ((0, 0, 1, 1) if more == 2 else (0, 0, 0, 1, 1))
    loaded = round_trip(growth.student, tmp_path)
    for model in (growth.student, loaded):
        assert model.config.layer_types == expected and model.config.num_hidden_layers == len(expected)
        windows = [layer.self_attn.sliding_window is not None for layer in model.model.layers]
        assert windows == [kind == "sliding_attention" for kind in expected]
        assert [layer.self_attn.layer_idx for layer in model.model.layers] == list(range(len(expected)))
    assert error(growth.student, loaded, inputs) <= 1e-6 and error(teacher, loaded, inputs) <= 1e-5


@pytest.mark.sweep
def test_a_cache_works_in_the_deeper_model() -> None:
    """Generation with a cache, which keeps keys and values by the number of the layer, gives the same tokens."""
    teacher, inputs = from_zoo("llama")
    student = exact(teacher, {"model.layers": 2}, inputs, tolerance=1e-5).student
    ours, theirs = (
        model.generate(inputs["input_ids"], max_new_tokens=5, do_sample=False, use_cache=cache)
        for model, cache in ((teacher, False), (student, True))
    )
    assert torch.equal(ours, theirs) and ours.shape[1] == inputs["input_ids"].shape[1] + 5


@pytest.mark.sweep
def test_tied_embeddings_stay_tied() -> None:
    teacher, inputs = from_zoo("llama_tied")
    student = exact(teacher, {"model.layers": 1}, inputs, tolerance=1e-5).student
    assert student.lm_head.weight is student.model.embed_tokens.weight


@pytest.mark.sweep
def test_classes_that_know_their_layers_by_number_get_new_ones_at_the_end() -> None:
    """Swin shifts every second window: by default new blocks come last, and elsewhere they are refused."""
    teacher, inputs = from_zoo("swin")
    stack = "swin.encoder.layers.1.blocks"
    growth = net2net.deepen(teacher, {stack: 2}, inputs)
    assert growth.plan.deepenings[0].sources == (0, 1, 1, 1)
    refused(
        net2net.CouplingError,
        lambda: net2net.deepen(teacher, {stack: 2}, inputs, positions="spread"),
        "shift_size",
        "positions='append'",
    )


def test_layers_that_normalise_their_stream() -> None:
    """One eps stands in the config for all norms: there is no exact way but where it is too small to matter."""
    teacher, inputs = from_zoo("bart")
    refused(
        net2net.FixedDimensionError,
        lambda: net2net.deepen(teacher, {"model.decoder.layers": 1}, inputs),
        "eps of 1e-05",
        "init='stack'",
    )
    assert MODELS["bert"].build().config.layer_norm_eps <= 1e-11  # which is why it is exact above


@pytest.mark.sweep
def test_copies_of_layers_that_normalise_their_stream() -> None:
    teacher, inputs = from_zoo("bart")
    copied = net2net.deepen(teacher, {"model.decoder.layers": 1}, inputs, init="stack")
    assert copied.plan.preserves == "none" and copied.student.config.decoder_layers == 4


def test_identity_layers_have_no_word_in_a_config() -> None:
    """A layer in a block can't be followed by another one: the class would not build it when it loads."""
    teacher, inputs = from_zoo("bert")
    place = "bert.encoder.layer.0.intermediate.dense"
    refused(
        net2net.CouplingError, lambda: net2net.deepen(teacher, {place: 1}, inputs), place, "BertForMaskedLM", "config"
    )


def test_shared_layers_are_refused() -> None:
    """ALBERT runs one layer again and again: no further layer has weights of its own."""
    teacher, inputs = from_zoo("albert")
    with pytest.raises(net2net.GrowthError, match="nothing in this network can be made deeper"):
        net2net.deepen(teacher, "2x", inputs)
