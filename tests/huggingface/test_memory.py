"""Checkpoints that are grown in memory as a whole: the same promises, refusals and dry runs as for a stream."""

from __future__ import annotations

import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import net2net
from net2net.cli._app import app

transformers = pytest.importorskip("transformers")
WIDTH = {"hidden_size": "2x", "intermediate_size": 53}
DEPTH = {"num_hidden_layers": 5}
SMALL = {"vocab_size": 61, "hidden_size": 24, "intermediate_size": 37, "num_attention_heads": 4}


@pytest.mark.parametrize("options", [{"how": "random_pad"}, {"init": "random", "dtype": "bfloat16"}])
def test_a_dry_run_of_what_is_grown_in_memory(llama_folder: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    sizes = DEPTH if "init" in options else WIDTH
    dry = net2net.grow_checkpoint(llama_folder, tmp_path / "s", sizes, dry_run=True, **options)
    assert dry.verification is None and dry.in_memory is not None and dry.in_memory in str(dry)
    assert "nothing was written" in str(dry) and not list(tmp_path.iterdir())
    real = net2net.grow_checkpoint(llama_folder, tmp_path / "s", sizes, **options)
    assert (dry.plan, dry.parameters, dry.bytes, dry.memory) == (real.plan, real.parameters, real.bytes, real.memory)
    assert json.loads((tmp_path / "s" / "growth.json").read_text())["in_memory"] == dry.in_memory
    name = "model.norm.weight"
    written = load_file(tmp_path / "s" / "model.safetensors")[name].view(torch.uint8).numpy()
    assert json.loads((tmp_path / "s" / "checksums.json").read_text())[name] == f"{zlib.crc32(written.tobytes()):08x}"


def test_what_is_grown_in_memory_needs_room_on_the_disk(
    llama_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(net2net.CheckpointError, match="are free"):
        net2net.grow_checkpoint(llama_folder, tmp_path / "s", WIDTH, how="random_pad")
    assert not list(tmp_path.iterdir())


@pytest.mark.thin(2)
@pytest.mark.parametrize("options", [{"how": "random_pad"}, {"init": "zero-random"}])
def test_per_layer_lists_get_longer(tmp_path: Path, options: dict[str, Any]) -> None:
    kinds = ["sliding_attention", "full_attention"]
    config = transformers.Qwen3Config(
        **SMALL, num_key_value_heads=2, head_dim=6, num_hidden_layers=2, layer_types=kinds, use_sliding_window=True
    )
    transformers.Qwen3ForCausalLM(config).save_pretrained(tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"num_hidden_layers": 4}, **options)
    assert growth.in_memory is not None and growth.plan.preserves == "exact"
    assert json.loads((tmp_path / "s" / "config.json").read_text())["layer_types"] == [k for k in kinds for _ in "ab"]


def test_lists_of_that_length_by_chance_stay(tmp_path: Path) -> None:
    config = transformers.Qwen3Config(
        **SMALL, num_key_value_heads=2, head_dim=6, num_hidden_layers=2, layer_types=["full_attention"] * 2
    )
    model = transformers.Qwen3ForCausalLM(config)
    model.config.eos_token_id = [1, 2]
    model.save_pretrained(tmp_path / "t")
    more = {"num_key_value_heads": 4, "num_attention_heads": 8}  # a number of heads is that of the layers
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", more, how="random_pad")
    for number, init in enumerate(("identity", "zero-random")):
        target = tmp_path / str(number)
        net2net.grow_checkpoint(tmp_path / "t", target, {"num_hidden_layers": 3}, init=init)
        words = json.loads((target / "config.json").read_text())
        assert len(words["layer_types"]) == 3 and words["eos_token_id"] == [1, 2]


def test_words_about_layers_need_new_layers(llama_folder: Path, tmp_path: Path) -> None:
    for options in ({"init": "stack"}, {"positions": "append"}, {"init": "stack", "how": "random_pad"}):
        with pytest.raises(net2net.OptionError, match="no layers are asked for"):
            net2net.grow_checkpoint(llama_folder, tmp_path / "s", WIDTH, **options)
    assert not list(tmp_path.iterdir())


def test_no_weight_is_rounded_to_the_dtype_of_the_config(llama_folder: Path, tmp_path: Path) -> None:
    model = transformers.LlamaForCausalLM.from_pretrained(llama_folder, dtype=torch.bfloat16)
    model.model.norm.float().weight.data.mul_(1.0001)  # no number of bfloat16
    model.save_pretrained(tmp_path / "t")
    config = json.loads((tmp_path / "t" / "config.json").read_text())
    (tmp_path / "t" / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    assert {str(t.dtype) for t in load_file(tmp_path / "t" / "model.safetensors").values()} == {
        "torch.bfloat16",
        "torch.float32",
    }
    net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", DEPTH, init="zero-random")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in "ts")
    assert torch.equal(before["model.norm.weight"], after["model.norm.weight"])


def test_files_are_checked(llama_folder: Path, tmp_path: Path) -> None:
    transformers.LlamaForCausalLM.from_pretrained(llama_folder).save_pretrained(tmp_path / "t")
    file = tmp_path / "t" / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "foo": torch.ones(2)}, file, {"format": "pt"})
    with pytest.raises(net2net.CheckpointError, match="'foo'"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", WIDTH, how="random_pad")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(net2net.CheckpointError, match=r"'model.norm.weight' of the source holds NaN"):
        net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", WIDTH, how="random_pad")
    assert [f.name for f in tmp_path.iterdir()] == ["t"]


@pytest.mark.thin(2)
@pytest.mark.parametrize("init", ["identity", "zero-random"])
def test_a_head_that_reads_every_layer(tmp_path: Path, init: str) -> None:
    """ESM's contact head has an input for each head of each layer."""
    config = transformers.EsmConfig(
        **{**SMALL, "vocab_size": 33}, num_hidden_layers=2, max_position_embeddings=40, pad_token_id=1, mask_token_id=2,
        position_embedding_type="rotary",
    )  # fmt: skip
    transformers.EsmForMaskedLM(config).save_pretrained(tmp_path / "t")
    growth = net2net.grow_checkpoint(tmp_path / "t", tmp_path / "s", {"num_hidden_layers": 4}, init=init)
    assert growth.in_memory is not None and growth.plan.preserves == "exact"


def test_how_layers_are_made_on_the_command_line(llama_folder: Path, tmp_path: Path) -> None:
    asked = ["grow", str(llama_folder), str(tmp_path / "s"), "--set", "num_hidden_layers=5", "--json"]
    done = CliRunner().invoke(app, [*asked, "--init", "zero-random", "--positions", "append"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert summary["deepenings"][0]["init"] == "zero-random" and summary["in_memory"] is not None
    vain = CliRunner().invoke(app, ["grow", str(llama_folder), str(tmp_path / "u"), "--init", "stack"])
    assert vain.exit_code == 2 and "nothing without" in vain.output
