"""Folders with more tokens, labels and image channels: what was there is computed as before, and loads as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from typer.testing import CliRunner

import net2net
from net2net.cli._app import app
from net2net.errors import NeedsMemory
from net2net.huggingface import _surgery, open_folder

SMALL: dict[str, Any] = {
    "vocab_size": 37,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}
LABELS = {0: "bad", 1: "good", 2: "mixed"}
VIT: dict[str, Any] = {**SMALL, "image_size": 8, "patch_size": 4, "num_hidden_layers": 2, "id2label": LABELS}
del VIT["vocab_size"]
IDS = torch.randint(4, 37, (3, 9), generator=torch.Generator().manual_seed(1))


def saved(kind: str, folder: Path, **words: Any) -> Any:
    """A teacher with weights as training leaves them, and a file of a tokenizer beside it."""
    model_class = getattr(transformers, kind)
    torch.manual_seed(0)
    model: Any = model_class(model_class.config_class(**words)).eval()
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, max_shard_size="10KB")
    (folder / "tokenizer.json").write_text('{"kept": "as it is"}')
    return model


@torch.no_grad()
def run(model: Any, **inputs: Tensor) -> Tensor:
    result: Tensor = model.eval()(**inputs).logits
    return result


def error(reference: Tensor, other: Tensor) -> float:
    return float((reference - other).abs().max() / reference.abs().max())


@pytest.mark.parametrize("tied", [False, True])
def test_a_vocabulary_grows_with_its_head(tied: bool, tmp_path: Path) -> None:
    teacher = saved("LlamaForCausalLM", tmp_path / "old", **SMALL, num_key_value_heads=2, tie_word_embeddings=tied)
    growth = net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", tokens=40)
    assert growth.in_memory is None and growth.verification is not None and growth.verification.passed
    student, info = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "new", output_loading_info=True)
    assert not info["missing_keys"] and student.config.vocab_size == 40
    table, head = student.get_input_embeddings().weight, student.get_output_embeddings().weight
    assert (head is table) == tied and table.shape == (40, 16)
    assert torch.allclose(table[37:], teacher.get_input_embeddings().weight.mean(0).expand(3, 16), atol=1e-6)
    old, new = run(teacher, input_ids=IDS), run(student, input_ids=IDS)
    assert error(old, new[..., :37]) <= 1e-5
    assert torch.allclose(new[..., 37], old.mean(-1), atol=1e-5)
    share = new.softmax(-1)[..., 37:].sum(-1).max().item()
    assert any("of the probability" in note for note in growth.verification.notes) and share < 0.3
    assert (tmp_path / "new" / "tokenizer.json").read_text() == '{"kept": "as it is"}'
    assert "input input_ids: 37 -> 40" in (tmp_path / "new" / "README.md").read_text()
    student.train()(input_ids=torch.full((1, 4), 39), labels=torch.full((1, 4), 38)).loss.backward()
    assert student.get_input_embeddings().weight.grad[39].any()


@pytest.mark.parametrize(
    ("rows", "expected"), [("zero", lambda table: 0 * table[0]), ("copy:17", lambda table: table[17])]
)
def test_how_new_rows_begin(rows: str, expected: Any, tmp_path: Path) -> None:
    teacher = saved("BertForSequenceClassification", tmp_path / "old", **SMALL, id2label=LABELS)
    growth = net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", tokens=38, rows=rows, labels=["other"])
    student = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "new")
    assert student.config.id2label == {**LABELS, 3: "other"} and student.config.label2id["other"] == 3
    table = teacher.get_input_embeddings().weight
    assert torch.equal(student.get_input_embeddings().weight[37], expected(table))
    old, new = run(teacher, input_ids=IDS), run(student, input_ids=IDS)
    assert error(old, new[:, :3]) <= 1e-5 and new.softmax(-1)[:, 3].max() <= 1e-6
    assert growth.verification is not None and "new entries of 'logits'" in " ".join(growth.verification.notes)


def test_tokens_of_a_masked_model_are_never_where_its_head_has_a_bias(tmp_path: Path) -> None:
    teacher = saved("BertForMaskedLM", tmp_path / "old", **SMALL)
    net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", tokens=40, start="never")
    student = transformers.BertForMaskedLM.from_pretrained(tmp_path / "new")
    old, new = run(teacher, input_ids=IDS), run(student, input_ids=IDS)
    assert error(old, new[..., :37]) <= 1e-5 and new.softmax(-1)[..., 37:].sum(-1).max() <= 1e-5


@pytest.mark.parametrize("in_memory", [False, True])
def test_images_get_channels_and_labels(in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if in_memory:

        def refuse(*_: Any) -> None:
            raise NeedsMemory("a test wants it.")

        monkeypatch.setattr(_surgery, "check_files", refuse)
    teacher = saved("ViTForImageClassification", tmp_path / "old", **VIT)
    growth = net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", channels=5, labels=["other"])
    assert (growth.in_memory is not None) == in_memory
    student = transformers.ViTForImageClassification.from_pretrained(tmp_path / "new")
    assert student.config.num_channels == 5 and student.config.id2label == {**LABELS, 3: "other"}
    images = torch.randn(2, 5, 8, 8)
    old, new = run(teacher, pixel_values=images[:, :3]), run(student, pixel_values=images)
    assert error(old, new[:, :3]) <= 1e-5
    assert (tmp_path / "new" / "checksums.json").exists() and (tmp_path / "new" / "tokenizer.json").exists()


@pytest.mark.sweep
@pytest.mark.parametrize(
    ("kind", "words", "how"),
    [
        ("T5ForConditionalGeneration", {"vocab_size": 37, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2,
          "num_heads": 4, "decoder_start_token_id": 0}, {"tokens": 41}),
        ("GPT2LMHeadModel", {"vocab_size": 37, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32,
          "bos_token_id": 1, "eos_token_id": 2}, {"tokens": 41}),
        ("BertForPreTraining", SMALL, {"tokens": 41}),
        ("BertForTokenClassification", {**SMALL, "id2label": LABELS}, {"labels": ["x", "y"]}),
        ("SegformerForSemanticSegmentation", {"num_labels": 3, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32]},
          {"channels": 4, "labels": ["x"]}),
        ("ConvNextForImageClassification", {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
          {"channels": 4, "labels": ["x"]}),
        ("MixtralForCausalLM", {**SMALL, "num_key_value_heads": 2, "num_local_experts": 4}, {"tokens": 41}),
    ],
)  # fmt: skip
def test_families(kind: str, words: dict[str, Any], how: dict[str, Any], tmp_path: Path) -> None:
    saved(kind, tmp_path / "old", **words)
    growth = net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", **how)
    assert growth.verification is not None and growth.verification.passed and growth.in_memory is None
    student = getattr(transformers, kind).from_pretrained(tmp_path / "new")
    assert getattr(student.config, "vocab_size", 41) == how.get("tokens", getattr(student.config, "vocab_size", 41))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({}, "nothing is asked for"),
        ({"tokens": 37}, "37 tokens already"),
        ({"tokens": 12}, "12 are asked for"),
        ({"tokens": "2x"}, "tokens='2x'"),
        ({"tokens": 40, "start": "never"}, "made without a bias"),
        ({"tokens": 40, "rows": "never"}, "start='never' has no meaning at the input"),
        ({"tokens": 40, "rows": "copy:99"}, "names '99'"),
        ({"labels": ["a"]}, "no logits with an entry for each of 2 labels"),
        ({"labels": "abc"}, "give a list of names"),
        ({"labels": ["a", "a"]}, "'a' is there twice"),
        ({"channels": 4}, "has no num_channels"),
    ],
)
def test_requests_that_make_no_sense(how: dict[str, Any], message: str, llama: Path, tmp_path: Path) -> None:
    with pytest.raises(net2net.GrowthError, match=message):
        net2net.surgery_checkpoint(llama, tmp_path / "new", **how)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama") / "old"
    saved("LlamaForCausalLM", folder, **SMALL, num_key_value_heads=2)
    return folder


def test_the_command_logs_and_goes_on_where_it_was_stopped(llama: Path, tmp_path: Path) -> None:
    def stop(what: str, finished: int, total: int) -> None:
        if finished > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net2net.surgery_checkpoint(llama, tmp_path / "new", tokens=45, max_shard_size="20KB", progress=stop)
    assert not (tmp_path / "new").exists()
    log = tmp_path / "surgeries.jsonl"
    asked = ["surgery", str(llama), str(tmp_path / "new"), "--tokens", "45", "--max-shard-size", "20KB", "--json"]
    done = CliRunner().invoke(app, [*asked, "--log", str(log), "--step", "500"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["verification"]["passed"] and found["tensors"]["lm_head.weight"] == [45, 16]
    net2net.surgery_checkpoint(llama, tmp_path / "whole", tokens=45)
    ours, theirs = open_folder(tmp_path / "new"), open_folder(tmp_path / "whole")
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.tensors)
    shown = CliRunner().invoke(app, ["log", str(log)])
    assert "500" in shown.stdout and "output logits 37 -> 45" in shown.stdout
    refused = CliRunner().invoke(app, [*asked, "--axis", "a=1"])
    assert refused.exit_code == 2 and "does nothing without" in " ".join(refused.output.split())


def test_the_optimizers_state_gets_the_rows_too(tmp_path: Path) -> None:
    teacher = saved("LlamaForCausalLM", tmp_path / "old", **SMALL, num_key_value_heads=2)
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-3)
    teacher(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "old" / "optimizer.pt")
    teacher.save_pretrained(tmp_path / "old", max_shard_size="10KB")
    net2net.surgery_checkpoint(tmp_path / "old", tmp_path / "new", tokens=40, optimizer="optimizer.pt")
    state = torch.load(tmp_path / "new" / "optimizer.pt", weights_only=True)["state"]
    before = optimizer.state_dict()["state"]
    assert state[0]["exp_avg"].shape == (40, 16) and torch.equal(state[0]["exp_avg"][:37], before[0]["exp_avg"])
    assert not state[0]["exp_avg"][37:].any()
