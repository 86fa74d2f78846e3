"""Processes that are really killed, at random moments, and started again: a run that grows twice ends bit-identical.

Run as a script, this file is the training run: `python test_killed.py loop|trainer FOLDER`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from net2net.training import GrowthSchedule, Training, newest_checkpoint, trainer_callback

STEPS = 24


# ---- the runs


def begun() -> Training:
    torch.manual_seed(3)
    layers = [nn.Linear(6, 11), nn.BatchNorm1d(11), nn.ReLU(), nn.Dropout(0.1), nn.Linear(11, 9), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(9, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    return Training(model, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS))


def loop(folder: Path) -> None:
    """The plain loop of docs/training.md: it saves after every step, and goes on from what it finds."""
    torch.set_num_threads(1)
    file = folder / "state.pt"
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    y = torch.tanh(x @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2)))
    events: dict[int, dict[str, Any]] = {7: {"sizes": {"0": 23}}, 15: {"where": {"4": 1}, "sizes": {"4": 17}}}
    schedule = GrowthSchedule(events, x[:4], ramp=5)
    done, training = 0, begun()
    if file.exists():
        saved = torch.load(file, weights_only=True)
        done, training = saved["step"], schedule.rebuild(saved["step"], training)
        training.load_state_dict(saved["training"])
        torch.set_rng_state(saved["rng"])
    for step in range(done + 1, STEPS + 1):
        rows = torch.randperm(64, generator=torch.Generator().manual_seed(step))[:16]
        training.optimizer.zero_grad()
        (training.model(x[rows]) - y[rows]).square().mean().backward()
        training.optimizer.step()
        assert training.scheduler is not None
        training.scheduler.step()
        training = schedule.after(step, training)
        state = {"step": step, "training": training.state_dict(), "rng": torch.get_rng_state()}
        torch.save(state, file.with_suffix(".new"))
        os.replace(file.with_suffix(".new"), file)
        print(step, flush=True)


def trainer(folder: Path) -> None:
    """The Trainer, which saves every second step."""
    import transformers

    class Say(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, args: Any, state: Any, control: Any, **known: Any) -> None:
            print(state.global_step, flush=True)

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.1,
    )
    newest = newest_checkpoint(folder)
    if newest is None:
        model = transformers.LlamaForCausalLM(config)
    else:
        model = transformers.LlamaForCausalLM.from_pretrained(newest)
    ids = torch.randint(3, 31, (40, 9), generator=torch.Generator().manual_seed(0))
    events: dict[int, dict[str, Any]] = {
        7: {"sizes": {"model.layers.*.mlp.up_proj": "2x"}},
        14: {"where": {"model.layers": 1}},
    }
    schedule = GrowthSchedule(events, {"input_ids": ids[:2]}, ramp=4)
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        save_steps=2,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    data = [{"input_ids": row, "labels": row} for row in ids]
    callbacks = [trainer_callback(schedule), Say()]
    run = transformers.Trainer(model, arguments, train_dataset=data, callbacks=callbacks)
    run.train(resume_from_checkpoint=str(newest) if newest else None)


# ---- the tests


def started(kind: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-W", "ignore", __file__, kind, str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed(kind: str, folder: Path, moments: random.Random, steps: int) -> None:
    """Start the run and kill it at a random moment of one of its next steps."""
    process = started(kind, folder)
    assert process.stdout is not None
    for _ in range(steps):
        process.stdout.readline()
    time.sleep(moments.random() * 0.02)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] is not None and process.returncode == -signal.SIGKILL


def finished(kind: str, folder: Path) -> None:
    process = started(kind, folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def equal(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, dict):
        return ours.keys() == theirs.keys() and all(equal(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, (list, tuple)):
        return len(ours) == len(theirs) and all(map(equal, ours, theirs))
    return torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else bool(ours == theirs)


def test_a_plain_loop(tmp_path: Path) -> None:
    moments = random.Random(5)
    finished("loop", tmp_path / "whole")
    for _ in range(2):
        killed("loop", tmp_path / "broken", moments, steps=moments.randint(5, 10))
    finished("loop", tmp_path / "broken")
    whole, broken = (torch.load(tmp_path / n / "state.pt", weights_only=True) for n in ("whole", "broken"))
    assert whole["step"] == broken["step"] == STEPS
    assert whole["training"]["model"]["4.weight"].shape == (17, 23)
    assert equal(whole, broken)


@pytest.mark.sweep
def test_the_trainer(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from safetensors.torch import load_file

    moments = random.Random(6)
    finished("trainer", tmp_path / "whole")
    for _ in range(2):
        killed("trainer", tmp_path / "broken", moments, steps=moments.randint(5, 9))
    finished("trainer", tmp_path / "broken")
    last = [tmp_path / name / f"checkpoint-{STEPS}" for name in ("whole", "broken")]
    assert equal(*(load_file(folder / "model.safetensors") for folder in last))
    assert equal(*(torch.load(folder / "optimizer.pt", weights_only=True) for folder in last))


def test_a_checkpoint_that_was_being_written_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((2, "{}"), (4, '{"global_st'), (6, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint-2"


if __name__ == "__main__":
    {"loop": loop, "trainer": trainer}[sys.argv[1]](Path(sys.argv[2]))
