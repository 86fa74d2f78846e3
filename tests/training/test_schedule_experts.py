"""Mixtures get more experts in the middle of a run, and the run is resumed with them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.moe import MixtureOfExperts
from net2net.training import GrowthSchedule, Training

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(1))
SCHEDULE = GrowthSchedule({3: {"experts": "2x"}}, X[:8])


def begun() -> Training:
    torch.manual_seed(0)
    mixture = MixtureOfExperts(8, 6, experts=3, top_k=2)
    model = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 8), mixture, nn.Linear(8, 3))
    return Training(model, torch.optim.AdamW(model.parameters(), lr=1e-2))


def run(begin: int, end: int, training: Training) -> Training:
    for step in range(begin + 1, end + 1):
        training.optimizer.zero_grad()
        (training.model(X) - X[:, :3].sin()).square().mean().backward()
        training.optimizer.step()
        training = SCHEDULE.after(step, training)
    return training


def test_experts_grow_in_a_run_that_is_resumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "net2net"):
        first = run(0, 5, begun())
    assert "grown after step 3: 3.experts 3 -> 6 replica routing (exact)" in caplog.text
    assert first.model[3].experts.routing.counts == (2, 2, 2)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    whole = run(5, 9, first)
    again = SCHEDULE.rebuild(5, begun())
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    again = run(5, 9, again)
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_an_event_that_upcycle_does_not_know_is_refused() -> None:
    for event, message in (
        ({"experts": "2x", "sizes": {"0": 12}}, "'sizes', which net2net.upcycle doesn't know"),
        ({"experts": "2x", "routing": "all"}, "after step 3: routing='all' is not known"),
    ):
        with pytest.raises(net2net.OptionError, match=message):
            GrowthSchedule({3: event}, X)


def test_replicas_are_balanced_without_a_call() -> None:
    routing = run(0, 5, begun()).model[3].experts.routing
    assert int(routing.load.sum()) == 0 < int(routing.total.sum())
    assert 0 < float(routing.balance.abs().max()) < 0.021  # two steps of 0.01
    mine = GrowthSchedule({3: {"experts": "2x"}}, X[:8], balance=0)
    training = begun()
    training = mine.after(3, training)
    training.model(X)
    assert int(mine.after(4, training).model[3].experts.routing.load.sum()) > 0
    with pytest.raises(net2net.OptionError, match="balance=-1 is no rate"):
        GrowthSchedule({3: {"experts": "2x"}}, X, balance=-1)


def test_the_trainer_balances_and_logs_and_resumes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.MixtralConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_local_experts=3,
    )
    ids = torch.randint(3, 31, (40, 9), generator=torch.Generator().manual_seed(0))

    def trained(model: nn.Module, folder: Path, resume: str | None = None) -> Any:
        arguments = transformers.TrainingArguments(
            output_dir=str(folder),
            max_steps=5,
            logging_steps=1,
            save_steps=3,
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
        )
        schedule = GrowthSchedule({2: {"experts": "2x"}}, {"input_ids": ids[:2]}, ramp=0)
        trainer = transformers.Trainer(
            model,
            arguments,
            train_dataset=[{"input_ids": row, "labels": row} for row in ids],
            callbacks=[net2net.training.trainer_callback(schedule)],
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    trainer = trained(transformers.MixtralForCausalLM(config), tmp_path)
    logs = {entry["step"]: entry for entry in trainer.state.log_history if "loss" in entry}
    assert "replicas/least_load" not in logs[1]
    assert 0 < logs[4]["replicas/twin_distance"] < logs[5]["replicas/twin_distance"]
    assert logs[5]["replicas/least_load"] <= 1 <= logs[5]["replicas/largest_load"]
    whole = trainer.model.state_dict()
    assert int(whole["model.layers.0.mlp.experts.routing.load"].sum()) == 0

    newest = str(tmp_path / "checkpoint-3")
    start = transformers.MixtralForCausalLM.from_pretrained(newest)
    again = trained(net2net.attach_replicas(start, newest), tmp_path / "again", newest).model.state_dict()
    assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)


def test_lightning_balances_and_logs() -> None:
    pl = pytest.importorskip("pytorch_lightning")

    class Learner(pl.LightningModule):  # type: ignore[misc,name-defined]  # a class of an extra
        def __init__(self) -> None:
            super().__init__()
            self.net = begun().model

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            error: torch.Tensor = (self.net(batch) - batch[:, :3]).square().mean()
            return error

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    logged: list[tuple[int, dict[str, float]]] = []

    class Logger(pl.loggers.logger.DummyLogger):  # type: ignore[misc,name-defined]  # a class of an extra
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            logged.append((step, metrics))

    schedule = GrowthSchedule({2: {"experts": "2x"}}, X[:8])
    learner = Learner()
    pl.Trainer(
        max_steps=5,
        accelerator="cpu",
        callbacks=[net2net.training.lightning_callback(schedule, "net")],
        logger=Logger(),
        log_every_n_steps=2,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(learner, torch.utils.data.DataLoader(X, batch_size=16))
    assert int(learner.net[3].experts.routing.load.sum()) == 0
    assert [step for step, metrics in logged if "replicas/least_load" in metrics] == [4]
