"""Folders of transformers: inputs that fit every class, old files, words that are no sizes, what lies beside."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import net2net
from net2net.capture import named_outputs
from net2net.cli._app import app
from net2net.huggingface import from_config

transformers = pytest.importorskip("transformers")

TEXT = {
    "vocab_size": 61, "hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
VISION = {
    "hidden_size": 20, "intermediate_size": 36, "num_hidden_layers": 2, "num_attention_heads": 4, "image_size": 24,
    "patch_size": 8,
}  # fmt: skip
BART = {
    "vocab_size": 37, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1,
    "d_model": 24, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4,
    "decoder_attention_heads": 3, "encoder_ffn_dim": 40, "decoder_ffn_dim": 44, "max_position_embeddings": 19,
}  # fmt: skip
SOUND = {
    "vocab_size": 37, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "conv_dim": (8, 8, 8), "conv_kernel": (10, 3, 3), "conv_stride": (5, 2, 2), "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def llama(**more: Any) -> Any:
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**TEXT, **more}))


def llava() -> Any:
    text, vision = transformers.LlamaConfig(**TEXT), transformers.CLIPVisionConfig(**VISION)
    config = transformers.LlavaConfig(text_config=text, vision_config=vision, image_token_index=60, image_seq_length=9)
    return transformers.LlavaForConditionalGeneration(config)


def gemma2(**more: Any) -> Any:
    config = transformers.Gemma2Config(**TEXT, head_dim=6, sliding_window=8, query_pre_attn_scalar=6, **more)
    return transformers.Gemma2ForCausalLM(config)


def whisper() -> Any:
    config = transformers.WhisperConfig(**BART, num_mel_bins=11, max_source_positions=7, max_target_positions=19)
    return transformers.WhisperForConditionalGeneration(config)


def saved(build: Callable[[], Any], folder: Path) -> Any:
    """The model in a folder, its weights spread as trained ones are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build().eval()
        for parameter in model.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    return model


def difference(teacher: Any, folder: Path, inputs: Any = None) -> float:
    """How far the grown folder, loaded as anybody would, is from the teacher, on inputs of another seed."""
    student = type(teacher).from_pretrained(folder).eval()
    inputs = inputs or from_config(type(teacher), teacher.config, 5)
    with torch.no_grad():
        ours, theirs = (named_outputs(model(**inputs)) for model in (teacher, student))
    return max(
        float((ours[n] - theirs[n]).abs().max() / ours[n].abs().max())
        for n in ours
        if isinstance(ours[n], torch.Tensor)
    )


@pytest.mark.thin(2)
@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (llava, {"text_config.intermediate_size": "2x"}),
        (whisper, {"d_model": "2x", "encoder_attention_heads": "2x", "decoder_attention_heads": "2x"}),
        (lambda: transformers.Wav2Vec2ForCTC(transformers.Wav2Vec2Config(**SOUND)), {"intermediate_size": "2x"}),
        pytest.param(  # the inputs of Wav2Vec2
            lambda: transformers.HubertForCTC(transformers.HubertConfig(**SOUND)),
            {"intermediate_size": 53},
            marks=pytest.mark.sweep,
        ),
        (lambda: transformers.BartForQuestionAnswering(transformers.BartConfig(**BART)), {"encoder_ffn_dim": "2x"}),
        pytest.param(  # a part of what grows in the next one
            lambda: transformers.BartForSequenceClassification(transformers.BartConfig(**BART)),
            {"encoder_ffn_dim": "2x"},
            marks=pytest.mark.sweep,
        ),
        (
            lambda: transformers.BartForSequenceClassification(transformers.BartConfig(**BART)),
            {
                "d_model": "2x",
                "encoder_attention_heads": "2x",
                "decoder_attention_heads": "2x",
                "encoder_ffn_dim": "2x",
            },
        ),
        (
            lambda: transformers.T5ForSequenceClassification(
                transformers.T5Config(
                    vocab_size=37, d_model=24, d_kv=6, d_ff=37, num_layers=2, num_heads=4, decoder_start_token_id=0
                )
            ),
            {"d_ff": 53, "num_heads": 5},
        ),
        (
            lambda: transformers.BertForMultipleChoice(
                transformers.BertConfig(**{k: v for k, v in TEXT.items() if k != "num_key_value_heads"})
            ),
            {"intermediate_size": "2x"},
        ),
        (
            lambda: transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**TEXT)),
            {"intermediate_size": "2x"},
        ),
    ],
    ids=["llava", "whisper", "wav2vec2", "hubert", "bart", "ends", "ends, wide", "ends of T5", "choices", "classifier"],
)
def test_inputs_are_made_for_every_class(build: Callable[[], Any], sizes: dict[str, Any], tmp_path: Path) -> None:
    teacher = saved(build, tmp_path / "t")
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes)
    assert difference(teacher, tmp_path / "s") <= 1e-5


def test_inputs_that_cannot_be_made_are_asked_for(tmp_path: Path) -> None:
    """Qwen 2 VL cuts its images into patches itself; nothing is written."""
    config = transformers.Qwen2VLConfig(
        vision_config={"embed_dim": 24, "depth": 2, "num_heads": 2, "hidden_size": 24},
        text_config={**TEXT, "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 1]}},
    )
    saved(lambda: transformers.Qwen2VLForConditionalGeneration(config), tmp_path / "t")
    with pytest.raises(net2net.OptionError, match="example_inputs"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"text_config.intermediate_size": "2x"})
    given = {"input_ids": torch.arange(4, 18).reshape(2, 7)}
    net2net.grow_checkpoint(
        tmp_path / "t", tmp_path / "s", {"text_config.intermediate_size": "2x"}, example_inputs=given
    )


def test_given_inputs(tmp_path: Path) -> None:
    teacher = saved(llama, tmp_path / "t")
    ids = torch.arange(4, 34).reshape(2, 15)
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": 53}, example_inputs=ids)
    assert difference(teacher, tmp_path / "s", {"input_ids": ids}) <= 1e-5
    with pytest.raises(net2net.GrowthError, match="pixels"):
        net2net.grow_checkpoint(
            tmp_path / "t", tmp_path / "u", {"intermediate_size": 53}, example_inputs={"pixels": ids}
        )
    assert not (tmp_path / "u").exists()


def with_tensor(folder: Path, name: str) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, name: torch.ones(3)}, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    "name",
    ["model.layers.0.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"],
)
def test_what_the_class_ignores_is_left_out(name: str, tmp_path: Path) -> None:
    teacher = saved(llama, tmp_path / "t")
    with_tensor(tmp_path / "t", name)
    growth = net2net.grow_checkpoint(
        tmp_path / "t", tmp_path / "s", {"hidden_size": "2x", "num_attention_heads": 8, "num_key_value_heads": 4}
    )
    assert any(name in note for note in growth.plan.notes)
    assert name not in load_file(tmp_path / "s" / "model.safetensors")
    assert difference(teacher, tmp_path / "s") <= 1e-5


def test_what_the_class_does_not_know_is_refused(tmp_path: Path) -> None:
    saved(llama, tmp_path / "t")
    with_tensor(tmp_path / "t", "model.layers.0.self_attn.lora.weight")
    with pytest.raises(net2net.CheckpointError, match=r"lora\.weight"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": "2x"})


@pytest.mark.parametrize(
    ("build", "sizes", "word"),
    [
        (gemma2, {"sliding_window": "2x"}, "sliding_window"),
        (gemma2, {"sliding_window": "2x", "num_hidden_layers": 4}, "sliding_window"),
        (llama, {"num_labels": "2x"}, "num_labels"),
        (llama, {"pretraining_tp": 2}, "pretraining_tp"),
        (llama, {"intermediate_size": "2x", "max_position_embeddings": "2x"}, "max_position_embeddings"),
        (llava, {"image_seq_length": "2x", "text_config.intermediate_size": "2x"}, "image_seq_length"),
    ],
    ids=["window", "window and depth", "labels", "slices", "positions", "features"],
)
def test_a_word_that_no_tensor_follows_is_refused(
    build: Callable[[], Any], sizes: dict[str, Any], word: str, tmp_path: Path
) -> None:
    saved(build, tmp_path / "t")
    with pytest.raises(net2net.SizeError, match=f"'{word}'"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes)
    assert not (tmp_path / "s").exists()


def test_the_proof_reaches_beyond_the_window(tmp_path: Path) -> None:
    teacher = saved(gemma2, tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"num_hidden_layers": 4})
    assert growth.verification is not None
    assert {key.split("/")[1] for key in growth.verification.errors} == {"given", "long"}
    assert difference(teacher, tmp_path / "s", {"input_ids": torch.arange(4, 60)[None]}) <= 1e-5
    config = json.loads((tmp_path / "s" / "config.json").read_text())
    (tmp_path / "s" / "config.json").write_text(json.dumps({**config, "sliding_window": 16}))
    proof = net2net.huggingface.verify_checkpoints(tmp_path / "t", tmp_path / "s")
    assert not proof.passed  # what seven tokens don't show
    assert [key.split("/")[1] for key, error in proof.errors.items() if error > 1e-3] == ["long"]


# What growth.json has beside the plan's summary.
MEASURED = ("verification", "parameters", "bytes", "memory", "in_memory", "optimizer")
CARD = """---
language: [en, no]  # Norwegian
license: apache-2.0
base_model: somebody/before
tags:
  - text-generation
model-index:
- name: small
---
# Small

Reads. """


def grown_by_a_module(folder: Path, target: Path) -> dict[str, Any]:
    """Grow a folder on the command line by the name of a module, which is done in memory."""
    asked = ["grow", folder, target, "--set", "model.layers.*.mlp.gate_proj=53", "--json"]
    done = CliRunner().invoke(app, [str(a) for a in asked])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("way", ["streamed", "in memory", "by a module"])
def test_what_lies_beside_comes_along(way: str, tmp_path: Path) -> None:
    saved(llama, tmp_path / "t")
    texts = {"LICENSE": "Apache", "NOTICE": "notice", "USE_POLICY.md": "be kind", "words.json": "[1]", "run.py": "1"}
    texts["additional_chat_templates/ours.jinja"] = "{{ messages }}"
    (tmp_path / "t" / "additional_chat_templates").mkdir()
    for name, text in {**texts, "README.md": CARD, "growth.json": "old", "trainer_state.json": "{}"}.items():
        (tmp_path / "t" / name).write_text(text)
    (tmp_path / "t" / "training_args.bin").write_bytes(b"\x80\x04\0")
    (tmp_path / "private").write_text("secret")
    for name in ("CREDITS", "tokenizer_private.json"):
        (tmp_path / "t" / name).symlink_to(tmp_path / "private")
    if way == "by a module":
        summary = grown_by_a_module(tmp_path / "t", tmp_path / "s")
    else:
        how = "random_pad" if way == "in memory" else None
        growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": 53}, how=how)
        summary = growth.summary()
    assert (summary["in_memory"] is not None) == (way != "streamed")
    assert {name: (tmp_path / "s" / name).read_text() for name in texts} == texts
    left = ("trainer_state.json", "training_args.bin", "CREDITS", "tokenizer_private.json", "ours.jinja")
    assert not any((tmp_path / "s" / name).exists() for name in left)
    assert json.loads((tmp_path / "s" / "growth.json").read_text()) == summary
    assert {"net2net-plan.safetensors", "checksums.json"} <= {file.name for file in (tmp_path / "s").iterdir()}
    plan = net2net.Plan.load(tmp_path / "s" / "net2net-plan.safetensors")
    assert summary == {"version": plan.version, **plan.summary(), **{k: summary[k] for k in MEASURED}}
    assert summary["verification"]["passed"] and summary["parameters"][1] > summary["parameters"][0]
    own = (tmp_path / "s" / "README.md").read_text()
    _, metadata, text = own.split("---\n", 2)
    for line in CARD.split("---\n")[1].splitlines():
        assert line in metadata.splitlines()
    assert "  - net2net\n" in metadata and "library_name: transformers\n" in metadata
    assert text.index("37 -> 53") < text.index("# Small\n\nReads.")


@pytest.mark.parametrize(
    ("own", "tags"),
    [
        (None, ["net2net"]),
        ("Only words.\n\n---\n", ["net2net"]),
        ("---\ntags: []\n---\n", ["net2net"]),
        ("---\r\ntags: [a, b]\r\nbase_model_relation: adapter\r\n---\r\nOnly words.", ["net2net", "a", "b"]),
        ("\ufeff---\ntags:\n- a\n- net2net\n---", ["a", "net2net"]),
        ("---\ntags:\n---\n", ["net2net"]),
        ("---\ntags: one\n---\n", "one"),
    ],
    ids=["none", "no metadata", "empty", "inline", "already", "null", "a word"],
)
def test_cards_of_all_kinds(own: str | None, tags: Any, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    home = tmp_path / "models--somebody--small" / "snapshots" / "0"
    saved(llama, home)
    if own is not None:
        (home / "README.md").write_text(own, encoding="utf-8", newline="")
    net2net.grow_checkpoint(home, tmp_path / "s", {"intermediate_size": 53})
    _, metadata, text = (tmp_path / "s" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    found = {"base_model": "somebody/small", "library_name": "transformers", "tags": tags}
    assert yaml.safe_load(metadata) == found
    assert ("Only words." in text) == ("Only words." in (own or ""))


@pytest.mark.parametrize(
    ("build", "sizes", "head"),
    [
        (
            lambda: transformers.LlamaModel(transformers.LlamaConfig(**TEXT)),
            {"hidden_size": "2x", "num_attention_heads": 8, "num_key_value_heads": 4},
            "LlamaForCausalLM",
        ),
        (
            lambda: transformers.ViTModel(transformers.ViTConfig(**VISION)),
            {"hidden_size": "2x", "num_attention_heads": 8},
            "ViTForImageClassification",
        ),
        (
            lambda: transformers.BartModel(transformers.BartConfig(**BART)),
            {"d_model": "2x", "encoder_attention_heads": 8, "decoder_attention_heads": 6},
            "BartForConditionalGeneration",
        ),
    ],
    ids=["text", "images", "two towers"],
)
@pytest.mark.parametrize("how", [None, "random_pad"], ids=["streamed", "in memory"])
def test_a_model_without_a_head_names_one(
    build: Callable[[], Any], sizes: dict[str, Any], head: str, how: str | None, tmp_path: Path
) -> None:
    saved(build, tmp_path / "t")
    with pytest.raises(net2net.FixedDimensionError, match=f"output 'last_hidden_state'.* no head.*{head}"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes, how=how)


def test_what_is_inside_a_model_without_a_head_grows(tmp_path: Path) -> None:
    teacher = saved(lambda: transformers.LlamaModel(transformers.LlamaConfig(**TEXT)), tmp_path / "t")
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": 53})
    assert difference(teacher, tmp_path / "s") <= 1e-5


WIDER = {"hidden_size": "2x", "num_attention_heads": 8, "num_key_value_heads": 4}
FOUR = {"hidden_size": "4x", "num_attention_heads": 16, "num_key_value_heads": 8}


@pytest.mark.thin(3)
@pytest.mark.parametrize(
    ("build", "dtype", "sizes", "options", "rounded"),
    [
        (llama, torch.float16, WIDER, {}, "float16 rounds 5 tensors .*4.9e-04"),
        (llama, torch.bfloat16, WIDER, {}, "bfloat16 rounds 5 tensors .*3.9e-03"),
        (llama, torch.bfloat16, WIDER, {"dtype": "float16"}, "float16 rounds 5 tensors"),
        (llama, torch.float16, WIDER, {"how": "split"}, "float16 rounds"),
        (llama, torch.float16, {"intermediate_size": 74}, {"how": "split", "noise": "zero_sum"}, "float16 rounds"),
        (gemma2, torch.float16, {**FOUR, "head_dim": 6}, {}, "float16 rounds"),
        (llama, torch.float16, WIDER, {"how": "random_pad"}, None),
        (llama, torch.float16, FOUR, {}, None),
        (llama, torch.float16, WIDER, {"how": "split", "shares": "even"}, None),
        (llama, torch.float16, {"intermediate_size": 53}, {}, None),
        (llama, torch.float16, WIDER, {"dtype": "float32"}, None),
        (llama, torch.float32, WIDER, {}, None),
    ],
    ids=[
        "default",
        "bfloat16",
        "other",
        "uneven",
        "noise",
        "offset",
        "random",
        "4x",
        "even",
        "inner",
        "float32",
        "wide",
    ],
)
def test_the_plan_says_what_rounding_costs(
    build: Callable[[], Any],
    dtype: torch.dtype,
    sizes: dict[str, Any],
    options: dict[str, Any],
    rounded: str | None,
    tmp_path: Path,
) -> None:
    saved(lambda: build().to(dtype), tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes, dry_run=True, **options)
    assert not (tmp_path / "s").exists()
    notes = [note for note in growth.plan.notes if "rounds" in note]
    assert len(notes) == (rounded is not None)
    if rounded is not None:
        assert re.match(rounded, notes[0]) and notes[0] in str(growth)


@pytest.mark.parametrize(
    ("sizes", "options", "exact"),
    [(FOUR, {}, True), (WIDER, {"how": "split", "shares": "even"}, True), (WIDER, {}, False)],
    ids=["4x", "even", "default"],
)
def test_without_a_note_nothing_is_rounded(
    sizes: dict[str, Any], options: dict[str, Any], exact: bool, tmp_path: Path
) -> None:
    """The half-precision weights, computed with in float64."""
    kind = type(saved(lambda: llama().half(), tmp_path / "t"))
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes, **options)
    teacher, student = (kind.from_pretrained(tmp_path / name, dtype=torch.float64).eval() for name in "ts")
    ids = torch.arange(4, 34).reshape(2, 15)
    with torch.no_grad():
        ours, theirs = teacher(ids).logits, student(ids).logits
    error = float((ours - theirs).abs().max() / ours.abs().max())
    assert (error <= 1e-6) == exact and error < 3e-3


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (lambda: llama(attention_bias=True), {"num_key_value_heads": 4}),
        (lambda: llama(num_key_value_heads=1), {"num_key_value_heads": 2, "num_hidden_layers": 3}),
        (lambda: llama(num_attention_heads=12, num_key_value_heads=2), {"num_key_value_heads": "3x"}),
        (
            lambda: transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**TEXT, head_dim=6)),
            {"num_key_value_heads": "2x"},
        ),
    ],
    ids=["biases", "one, deeper", "three times", "normalised"],
)
def test_key_value_heads_are_copied_to_their_queries(
    build: Callable[[], Any], sizes: dict[str, Any], tmp_path: Path
) -> None:
    teacher = saved(build, tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes)
    assert growth.in_memory is None
    assert difference(teacher, tmp_path / "s") <= 1e-5
    assert net2net.Plan.load(tmp_path / "s" / "net2net-plan.safetensors") == growth.plan


@pytest.mark.parametrize("size", [3, 4, 6, 8])
def test_key_value_heads_that_do_not_divide_the_queries(size: int, tmp_path: Path) -> None:
    saved(lambda: llama(hidden_size=60, num_attention_heads=10, num_key_value_heads=2), tmp_path / "t")
    with pytest.raises(net2net.GrowthError, match=r"Sizes that work: 10\."):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"num_key_value_heads": size})
