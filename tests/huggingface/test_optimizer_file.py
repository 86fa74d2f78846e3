"""The optimizer's state beside a checkpoint grows in the same run, and the Trainer goes on from there."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import net2net
from net2net.huggingface import _grow
from net2net.training import ramp, resume_ramp

transformers = pytest.importorskip("transformers")
IDS = torch.randint(3, 61, (24, 9), generator=torch.Generator().manual_seed(0))
BOTH = {"hidden_size": "2x", "num_attention_heads": "2x", "intermediate_size": 50, "num_hidden_layers": 5}


def trained(folder: Path, named: bool = True) -> tuple[Any, torch.optim.Optimizer]:
    """Some steps of AdamW from the weights in a folder."""
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    optimizer = torch.optim.AdamW(model.named_parameters() if named else model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
    return model, optimizer


@pytest.fixture
def run(llama_folder: Path, tmp_path: Path) -> tuple[Path, Any, torch.optim.Optimizer]:
    model, optimizer = trained(llama_folder)
    model.save_pretrained(tmp_path / "run", max_shard_size="20KB")
    torch.save(optimizer.state_dict(), tmp_path / "run" / "optimizer.pt")
    return tmp_path / "run", model, optimizer


@pytest.mark.filterwarnings("ignore:copies with even shares")
@pytest.mark.parametrize("options", [{}, {"how": "split", "shares": "even"}], ids=str)
def test_the_state_is_that_of_the_growth_in_memory(
    run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path, options: dict[str, Any]
) -> None:
    folder, model, optimizer = run
    sizes = {**BOTH, "intermediate_size": "2x"}
    net2net.grow_checkpoint(folder, tmp_path / "grown", sizes, optimizer="optimizer.pt", **options)
    student = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "grown")
    loaded = torch.optim.AdamW(student.named_parameters(), lr=1e-3)
    loaded.load_state_dict(torch.load(tmp_path / "grown" / "optimizer.pt", weights_only=True))
    bigger = transformers.LlamaForCausalLM(student.config)
    growth = net2net.transfer(model, bigger, {"input_ids": IDS[:2]}, **options)
    carried = growth.optimizer(optimizer, ramp=0)  # whoever loads the file decides on a ramp
    ours = {n: loaded.state[p] for n, p in student.named_parameters()}
    theirs = {n: carried.state[p] for n, p in growth.student.named_parameters()}
    assert ours.keys() == theirs.keys()
    for name, state in ours.items():
        for key in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(state[key], theirs[name][key], msg=f"{key} of {name}")


def test_no_ramp_is_in_the_file(run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path) -> None:
    """The moments are made for going on at the full rate, so no callback goes on with a ramp, of this growth or of one
    before it."""
    folder, _, optimizer = run
    for earlier in (False, True):
        if earlier:
            ramp(optimizer)
            torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        net2net.grow_checkpoint(folder, tmp_path / str(earlier), BOTH, optimizer="optimizer.pt")
        student = transformers.LlamaForCausalLM.from_pretrained(tmp_path / str(earlier))
        loaded = torch.optim.AdamW(student.named_parameters())
        loaded.load_state_dict(torch.load(tmp_path / str(earlier) / "optimizer.pt", weights_only=True))
        resume_ramp(loaded)
        assert rate_of_a_step(loaded) == 1e-3


def rate_of_a_step(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate that the next step uses."""
    rates = []
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    optimizer.step()
    return float(rates[0])


def as_safetensors(model: Any, optimizer: torch.optim.Optimizer, file: Path) -> None:
    """What torch.distributed.checkpoint calls things, in one file."""
    names = {p: n for n, p in model.named_parameters()}
    save_file({f"state.{names[p]}.{k}": t.clone() for p, s in optimizer.state.items() for k, t in s.items()}, file)


def test_safetensors(run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path) -> None:
    folder, model, optimizer = run
    as_safetensors(model, optimizer, folder / "optimizer.safetensors")
    for i, file in enumerate(("optimizer.pt", "optimizer.safetensors")):
        net2net.grow_checkpoint(folder, tmp_path / str(i), BOTH, optimizer=file)
    found = load_file(tmp_path / "1" / "optimizer.safetensors")
    saved = torch.load(tmp_path / "0" / "optimizer.pt", weights_only=True)
    for number, name in enumerate(saved["param_groups"][0]["param_names"]):
        for key, tensor in saved["state"][number].items():
            assert torch.equal(found.pop(f"state.{name}.{key}"), tensor)
    assert not found


def test_the_trainer_goes_on(llama_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")

    def go_on(model: Any, steps: int, resume: str | None) -> Any:
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path / "out"), max_steps=steps, save_steps=6, logging_steps=1, report_to=[],
            use_cpu=True, per_device_train_batch_size=24, learning_rate=1e-3, disable_tqdm=True, weight_decay=0.1,
        )  # fmt: skip
        data = [{"input_ids": row, "labels": row} for row in IDS]
        trainer = transformers.Trainer(model, arguments, train_dataset=data)
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    go_on(transformers.LlamaForCausalLM.from_pretrained(llama_folder), 6, None)
    grown = tmp_path / "grown"
    net2net.grow_checkpoint(tmp_path / "out" / "checkpoint-6", grown, BOTH, optimizer="optimizer.pt")
    trainer = go_on(transformers.LlamaForCausalLM.from_pretrained(grown), 12, str(grown))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 12 and losses[6] <= 1.01 * losses[5] and losses[11] < losses[5]


def test_files_that_do_not_fit(run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path) -> None:
    folder, _, optimizer = run
    state = optimizer.state_dict()
    renamed = {**state["param_groups"][0], "param_names": ["x"] * len(state["param_groups"][0]["params"])}
    first = {**state["state"], 0: {**state["state"][0], "exp_avg": torch.zeros(3)}}
    second = {**state["state"], 0: {**state["state"][0], "other": torch.zeros(3)}}
    twice = {**state["param_groups"][0], "params": [0] * len(state["param_groups"][0]["params"])}
    third = {**state["state"], 0: {**state["state"][0], "exp_avg": torch.tensor(1.0)}}
    for content in (
        {**state, "param_groups": [renamed]},
        {**state, "param_groups": [twice]},
        {**state, "param_groups": [3]},
        {**state, "param_groups": state["param_groups"] * 2},
        {**state, "state": third},
        {**state, "state": {0: 3}},
        {**state, "state": []},
        {**state, "state": first},
        {**state, "state": second},
        {"state": {}},
        [1, 2],
    ):
        torch.save(content, folder / "optimizer.pt")
        with pytest.raises(net2net.GrowthError):
            net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer="optimizer.pt")
        assert not list(tmp_path.glob("*grown*"))
    (tmp_path / "optimizer.pt").write_bytes((folder / "optimizer.pt").read_bytes())
    (folder / "link.pt").symlink_to(tmp_path / "optimizer.pt")
    for name, part in (("../optimizer.pt", "no file"), ("link.pt", "no file"), ("config.json", "is not an optimizer")):
        with pytest.raises(net2net.CheckpointError, match=part):
            net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer=name)
    for names in (["state.x.exp_avg"], ["exp_avg"], [f"{start}lm_head.weight.exp_avg" for start in ("", "state.")]):
        save_file({name: torch.zeros(61, 24) for name in names}, folder / "optimizer.safetensors")
        with pytest.raises(net2net.CheckpointError, match=r"no parameter|twice"):
            net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer="optimizer.safetensors", dry_run=True)
    assert not list(tmp_path.glob("*grown*"))


@pytest.mark.thin(2)
@pytest.mark.parametrize("file", ["optimizer.pt", "optimizer.safetensors"])
def test_an_interrupted_run_goes_on(
    run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    folder, model, optimizer = run
    as_safetensors(model, optimizer, folder / "optimizer.safetensors")
    net2net.grow_checkpoint(folder, tmp_path / "whole", BOTH, optimizer=file)
    pieces, made = _grow._pieces, []

    def failing(*arguments: Any) -> Any:
        made.append(arguments)
        if len(made) > 9:
            raise KeyboardInterrupt
        return pieces(*arguments)

    monkeypatch.setattr(_grow, "_pieces", failing)
    with pytest.raises(KeyboardInterrupt):
        net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer=file)
    monkeypatch.undo()
    finished = (tmp_path / ".grown.partial" / file).stat()
    net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer=file)
    assert (tmp_path / "grown" / file).stat().st_mtime_ns == finished.st_mtime_ns
    whole, grown = ({f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("whole", "grown"))
    assert whole == grown


def test_a_checkpoint_that_is_grown_in_memory(tmp_path: Path) -> None:
    """The files of GPT-NeoX hold its heads in another order than its modules."""
    config = transformers.GPTNeoXConfig(
        vocab_size=61, hidden_size=24, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.GPTNeoXForCausalLM(config).save_pretrained(tmp_path / "start")
    model = transformers.GPTNeoXForCausalLM.from_pretrained(tmp_path / "start")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(input_ids=IDS, labels=IDS).loss.backward()
    optimizer.step()
    model.save_pretrained(tmp_path / "run")
    torch.save(optimizer.state_dict(), tmp_path / "run" / "optimizer.pt")
    sizes = {"intermediate_size": "2x", "num_hidden_layers": 3}
    net2net.grow_checkpoint(tmp_path / "run", tmp_path / "grown", sizes, optimizer="optimizer.pt")
    assert "in_memory" in (tmp_path / "grown" / "growth.json").read_text()
    student = transformers.GPTNeoXForCausalLM.from_pretrained(tmp_path / "grown")
    loaded = torch.optim.AdamW(student.parameters(), lr=1e-3)
    loaded.load_state_dict(torch.load(tmp_path / "grown" / "optimizer.pt", weights_only=True))
    growth = net2net.transfer(model, transformers.GPTNeoXForCausalLM(student.config), {"input_ids": IDS[:2]})
    carried = growth.optimizer(optimizer, ramp=0)  # whoever loads the file decides on a ramp
    for ours, theirs in zip(student.parameters(), growth.student.parameters(), strict=True):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(loaded.state[ours][key], carried.state[theirs][key])


class Bomb:
    """A pickle of it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_no_code_is_run(run: tuple[Path, Any, torch.optim.Optimizer], tmp_path: Path) -> None:
    folder, _, _ = run
    (folder / "optimizer.pt").write_bytes(pickle.dumps(Bomb(tmp_path / "boom")))
    with pytest.raises(net2net.GrowthError, match="safely"):
        net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer="optimizer.pt")
    torch.save({"state": Bomb(tmp_path / "boom"), "param_groups": []}, folder / "optimizer.pt")
    with pytest.raises(net2net.GrowthError, match="safely"):
        net2net.grow_checkpoint(folder, tmp_path / "grown", BOTH, optimizer="optimizer.pt")
    assert not (tmp_path / "boom").exists()
