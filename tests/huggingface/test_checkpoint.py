"""Checkpoints grown from folder to folder: what is written loads, and computes what the teacher computed."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import net2net
from net2net.huggingface import _grow
from net2net.huggingface._write import JOURNAL
from net2net.plan import AxisMap

WIDTH = {"hidden_size": "2x", "intermediate_size": 53}
DEPTH = {"num_hidden_layers": 5}
SMALL = {"vocab_size": 61, "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
TOKENS = torch.arange(4, 18).reshape(2, 7)


def load(folder: Path) -> Any:
    transformers = pytest.importorskip("transformers")
    names = json.loads((folder / "config.json").read_text())["architectures"]
    return getattr(transformers, names[0]).from_pretrained(folder).eval()


def logits(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = load(folder)(input_ids=TOKENS).logits
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


HEADS = {"num_attention_heads": 8, "num_key_value_heads": 4}


@pytest.mark.parametrize(
    ("how", "sizes"),
    [
        (None, WIDTH),
        (None, DEPTH),
        (None, {**WIDTH, **DEPTH}),
        (None, HEADS),
        ("split", {**WIDTH, **DEPTH}),
        ("split", HEADS),
        pytest.param("split", WIDTH, marks=pytest.mark.sweep),  # a part of the one with depth
        pytest.param("split", DEPTH, marks=pytest.mark.sweep),  # nothing is split
    ],
)
def test_the_new_folder_computes_the_same(
    llama_folder: Path, tmp_path: Path, sizes: dict[str, Any], how: str | None
) -> None:
    before = files(llama_folder)
    growth = net2net.grow_checkpoint(llama_folder, tmp_path / "student", sizes, how=how, max_shard_size="20KB")
    assert growth.verification is not None and growth.verification.passed
    a, b = logits(llama_folder), logits(tmp_path / "student")
    assert float((a - b).abs().max() / a.abs().max()) <= 1e-5
    config = load(tmp_path / "student").config
    assert all(getattr(config, n) > getattr(load(llama_folder).config, n) for n in sizes)
    assert files(llama_folder) == before
    assert not list(tmp_path.glob(".*"))


def assert_checksums(folder: Path) -> None:
    """What checksums.json says of every tensor is so."""
    sums = json.loads((folder / "checksums.json").read_text())
    found = {}
    for file in folder.glob("model*.safetensors"):
        for name, tensor in load_file(file).items():
            found[name] = f"{zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()):08x}"
    assert sums == found


def test_what_lies_beside_the_weights(llama_folder: Path, tmp_path: Path) -> None:
    growth = net2net.grow_checkpoint(llama_folder, tmp_path / "s", {**WIDTH, **DEPTH})
    assert net2net.Plan.load(tmp_path / "s" / "net2net-plan.safetensors") == growth.plan
    written = json.loads((tmp_path / "s" / "growth.json").read_text())
    assert [(d["place"], d["from"], d["to"], d["init"]) for d in written["deepenings"]] == [
        ("model.layers", 3, 5, "identity")
    ]
    assert written["parameters"][1] == sum(p.numel() for p in load(tmp_path / "s").parameters())
    assert_checksums(tmp_path / "s")
    assert "net2net" in (tmp_path / "s" / "README.md").read_text()


def test_the_streamed_entries_are_those_of_a_plan_in_memory(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("net2net.apply._pieces.PIECE", 64)  # so that every matrix is made in many pieces
    growth = net2net.grow_checkpoint(llama_folder, tmp_path / "s", {**WIDTH, **DEPTH}, how="split")
    teacher = {n: p.detach() for n, p in load(llama_folder).named_parameters()}
    removed = tuple(n for n in teacher if n not in growth.plan.tensors)
    made = net2net.apply.grow_state(growth.plan, {n: t for n, t in teacher.items() if n not in removed})
    student = dict(load(tmp_path / "s").named_parameters())
    assert made.keys() == student.keys()
    assert all(torch.equal(made[n], student[n]) for n in made)


def test_other_dtypes(llama_folder: Path, tmp_path: Path) -> None:
    net2net.grow_checkpoint(llama_folder, tmp_path / "s", DEPTH, dtype="bfloat16")
    transformers = pytest.importorskip("transformers")
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "s", dtype="auto")
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_dry_run_writes_nothing(llama_folder: Path, tmp_path: Path) -> None:
    growth = net2net.grow_checkpoint(llama_folder, tmp_path / "s", WIDTH, dry_run=True)
    assert growth.verification is None and growth.bytes[1] > growth.bytes[0]
    assert "nothing was written" in str(growth)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sizes", [None, [("hidden_size", "2x")], "hidden_size"])
def test_sizes_are_words_of_the_config(llama_folder: Path, tmp_path: Path, sizes: Any) -> None:
    with pytest.raises(net2net.OptionError, match="name words of the config"):
        net2net.grow_checkpoint(llama_folder, tmp_path / "s", sizes)


@pytest.fixture
def dynamic() -> Any:
    """A Llama whose RoPE frequencies depend on the length, beyond 16 positions."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=61,
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10000.0},
    )
    return transformers.LlamaForCausalLM(config).eval()


def far_apart(teacher: Any, student: Any) -> float:
    """The largest relative difference on inputs within what a teacher was trained for, beyond, and back."""
    errors = []
    for length in (7, 33, 9):
        with torch.no_grad():
            a, b = (model(input_ids=torch.arange(length)[None]).logits for model in (teacher, student))
        errors.append(float((a - b).abs().max() / a.abs().max()))
    return max(errors)


def test_positions_whose_frequencies_depend_on_the_length(dynamic: Any, tmp_path: Path) -> None:
    dynamic.save_pretrained(tmp_path / "t")
    heads = {"hidden_size": "2x", "num_attention_heads": 8, "num_key_value_heads": 8}
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {**DEPTH, **heads})
    assert far_apart(load(tmp_path / "t"), load(tmp_path / "s")) <= 1e-5
    with pytest.raises(net2net.SizeError, match="max_position_embeddings"):  # the frequencies are made from it
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "u", {"max_position_embeddings": 32})


@pytest.mark.parametrize("length", [7, 40])
def test_a_teacher_that_has_seen_a_long_input(dynamic: Any, length: int) -> None:
    dynamic(input_ids=torch.arange(33)[None])
    before = dynamic.model.rotary_emb.inv_freq.clone()
    example = {"input_ids": torch.arange(4, 4 + length)[None]}
    for growth in (net2net.deepen(dynamic, {"model.layers": 1}, example), net2net.widen(dynamic, 2.0, example)):
        assert torch.equal(dynamic.model.rotary_emb.inv_freq, before)
        assert far_apart(copy.deepcopy(dynamic), growth.student) <= 1e-5


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param({"encoder.num_hidden_layers": 5}, id="one"),
        pytest.param(
            {"encoder.num_hidden_layers": 5, "decoder.num_hidden_layers": 4}, id="both", marks=pytest.mark.sweep
        ),
    ],
)
def test_encoders_and_decoders_of_one_length(tmp_path: Path, sizes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    part = {
        "hidden_size": 24,
        "intermediate_size": 37,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "vocab_size": 61,
        "layer_types": ["sliding_attention", "sliding_attention", "full_attention"],
    }
    encoder = transformers.T5GemmaModuleConfig(**part)
    decoder = transformers.T5GemmaModuleConfig(**part, cross_attention_hidden_size=24)
    config = transformers.T5GemmaConfig(encoder=encoder, decoder=decoder, vocab_size=61)
    transformers.T5GemmaForConditionalGeneration(config).save_pretrained(tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", sizes)
    assert growth.in_memory is None and growth.verification is not None and growth.verification.passed


def test_a_size_that_is_a_list_with_an_entry_for_each_layer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Gemma3nTextConfig(
        vocab_size=61,
        vocab_size_per_layer_input=61,
        hidden_size=16,
        hidden_size_per_layer_input=4,
        intermediate_size=[32] * 5,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        altup_num_inputs=2,
        laurel_rank=4,
        num_kv_shared_layers=0,
        layer_types=["full_attention"] * 5,
        activation_sparsity_pattern=[0.0] * 5,
    )
    transformers.Gemma3nForCausalLM(config).save_pretrained(tmp_path / "t")
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": "2x"})
    assert load(tmp_path / "s").config.intermediate_size == [64] * 5
    a, b = logits(tmp_path / "t"), logits(tmp_path / "s")
    assert float((a - b).abs().max() / a.abs().max()) <= 1e-5


def test_planning_looks_at_few_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=24, intermediate_size=37, num_hidden_layers=40, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "t")
    seen: list[int] = []

    def analyze(model: Any, inputs: Any) -> net2net.Analysis:
        seen.append(len(model.model.layers))
        return net2net.analyze(model, inputs)

    monkeypatch.setattr("net2net.huggingface._plan.analyze", analyze)
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {**WIDTH, "num_hidden_layers": 60})
    assert seen == [2] and growth.verification is not None and growth.verification.passed


SCRIPT = """
import sys, net2net
net2net.grow_checkpoint(sys.argv[1], sys.argv[2], {"hidden_size": "2x", "num_hidden_layers": 5}, max_shard_size="9KB")
"""


def test_a_killed_run_goes_on_where_it_was(llama_folder: Path, tmp_path: Path) -> None:
    """test_killed.py has more such moments."""
    target, partial = tmp_path / "killed", tmp_path / ".killed.partial"
    sizes = {"hidden_size": "2x", "num_hidden_layers": 5}
    net2net.grow_checkpoint(llama_folder, tmp_path / "whole", sizes, max_shard_size="9KB")
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(llama_folder), str(target)])
    while process.poll() is None and not (partial / JOURNAL).exists():
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not target.exists():  # else it had finished
        assert partial.is_dir()
        net2net.grow_checkpoint(llama_folder, target, sizes, max_shard_size="9KB")
    assert files(target) == files(tmp_path / "whole")


def test_what_is_finished_is_not_made_again(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    pieces = _grow._pieces

    def failing(folder: Any, plan: Any, slot: Any) -> Any:
        if len(made) == 9:
            raise KeyboardInterrupt
        made.append(slot.name)
        return pieces(folder, plan, slot)

    monkeypatch.setattr(_grow, "_pieces", failing)
    with pytest.raises(KeyboardInterrupt):
        net2net.grow_checkpoint(llama_folder, tmp_path / "s", WIDTH, max_shard_size="9KB")
    assert not (tmp_path / "s").exists()
    first = len((tmp_path / ".s.partial" / JOURNAL).read_text().splitlines())
    monkeypatch.setattr(_grow, "_pieces", lambda f, p, s: made.append(s.name) or pieces(f, p, s))
    made.clear()
    growth = net2net.grow_checkpoint(llama_folder, tmp_path / "s", WIDTH, max_shard_size="9KB")
    assert first > 0 and len(made) == len(growth.plan.tensors) - first


def test_another_source_starts_anew(llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training may have gone on since a run was interrupted."""
    source = Path(shutil.copytree(llama_folder, tmp_path / "teacher"))

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_grow, "compare", interrupted)
        net2net.grow_checkpoint(source, tmp_path / "s", DEPTH)
    for file in source.glob("*.safetensors"):
        save_file({n: t * 2 for n, t in load_file(file).items()}, file, metadata={"format": "pt"})
    net2net.grow_checkpoint(source, tmp_path / "s", DEPTH)
    torch.testing.assert_close(logits(tmp_path / "s"), logits(source))


def test_another_plan_starts_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two plans of the same sizes may differ in one entry in the middle of a long axis: half of each is no growth."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(**SMALL, intermediate_size=1100)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "t")
    real = _grow.plan_checkpoint

    def other(*arguments: Any) -> Any:
        """The plan, with another unit copied in the middle."""
        planned = real(*arguments)

        def moved(m: AxisMap | None) -> AxisMap | None:
            if m is None or len(m.source) != 2200:
                return m
            source = m.source.copy()
            source[1600:1602] = source[[1601, 1600]]
            factor = None if m.factor is None else m.factor.copy()
            if factor is not None:
                factor[1600:1602] = factor[[1601, 1600]]
            return replace(m, source=source, factor=factor)

        tensors = {n: replace(t, axes=tuple(map(moved, t.axes))) for n, t in planned.plan.tensors.items()}
        return replace(planned, plan=replace(planned.plan, tensors=tensors))

    def grow() -> None:
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"intermediate_size": "2x"}, how="split")

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_grow, "compare", interrupted)
        patch.setattr(_grow, "plan_checkpoint", other)
        grow()
    grow()
    half = files(tmp_path / "s")
    shutil.rmtree(tmp_path / "s")
    grow()
    assert half == files(tmp_path / "s")


def test_the_files_are_as_readable_as_any(llama_folder: Path, tmp_path: Path) -> None:
    """A file that another process may not read is of no use on a shared disk."""
    net2net.grow_checkpoint(llama_folder, tmp_path / "s", DEPTH)
    assert all(os.access(file, os.R_OK) for file in (tmp_path / "s").iterdir())


def test_on_the_command_line(llama_folder: Path, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from net2net.cli._app import app

    runner, sizes = CliRunner(), ["--set", "hidden_size=2x", "--set", "num_hidden_layers=5"]
    dry = runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "s"), *sizes, "--dry-run"])
    assert dry.exit_code == 0 and "nothing was written" in dry.output and not (tmp_path / "s").exists()
    done = runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "s"), *sizes, "--json"])
    assert done.exit_code == 0 and json.loads(done.output)["deepenings"][0]["to"] == 5
    assert load(tmp_path / "s").config.hidden_size == 48
    wrong = runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "t"), "--set", "hidden_size=12"])
    assert wrong.exit_code == 1 and not (tmp_path / "t").exists()
    narrow = [*sizes, "--split", "--dtype", "bfloat16"]
    assert runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "b"), *narrow]).exit_code == 0
    written = json.loads((tmp_path / "b" / "growth.json").read_text())
    assert written["dimensions"][0]["how"] == "split"
    assert runner.invoke(app, ["verify", str(llama_folder), str(tmp_path / "b")]).exit_code == 0
    assert runner.invoke(app, ["verify", str(tmp_path / "b"), str(llama_folder)]).exit_code == 0
    both = runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "t"), *sizes, "--split", "--how", "pair"])
    assert both.exit_code == 2 and not (tmp_path / "t").exists()
    typing_error = runner.invoke(app, ["grow", str(llama_folder), str(tmp_path / "t"), "--set", "hidden_siz=2x"])
    assert typing_error.exit_code == 1 and "'hidden_size'" in typing_error.output
