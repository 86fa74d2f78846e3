"""The Hugging Face Trainer through a growth, and again from its checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import net2net
from net2net.training import GrowthSchedule, newest_checkpoint, trainer_callback

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

IDS = torch.randint(3, 31, (40, 9), generator=torch.Generator().manual_seed(0))
EVENTS: dict[int, dict[str, Any]] = {
    3: {"sizes": {"model.layers.*.mlp.up_proj": "2x"}},
    6: {"where": {"model.layers": 1}},
}


def small() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2
    )
    return transformers.LlamaForCausalLM(config)


def trained(model: Any, folder: Path, resume: bool = False, **more: Any) -> Any:
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=10,
        per_device_train_batch_size=4,
        learning_rate=1e-3,
        save_steps=2,
        logging_steps=1,
        weight_decay=0.01,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **more,
    )
    schedule = GrowthSchedule(EVENTS, {"input_ids": IDS[:2]}, ramp=4)
    data = [{"input_ids": row, "labels": row} for row in IDS]
    trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[trainer_callback(schedule)])
    trainer.train(resume_from_checkpoint=str(newest_checkpoint(folder)) if resume else None)
    return trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, trained(small(), folder).model


def test_the_model_grows_and_goes_on(whole: tuple[Path, Any]) -> None:
    _, model = whole
    assert model.config.intermediate_size == 40 and model.config.num_hidden_layers == 3
    assert len(model.model.layers) == 3 and model.model.layers[0].mlp.up_proj.out_features == 40


@pytest.mark.thin(3)
@pytest.mark.parametrize("step", [2, 4, 6, 8])
def test_a_run_that_is_resumed_ends_with_the_same_weights(whole: tuple[Path, Any], tmp_path: Path, step: int) -> None:
    folder, model = whole
    (tmp_path / f"checkpoint-{step}").symlink_to(folder / f"checkpoint-{step}")
    start = transformers.LlamaForCausalLM.from_pretrained(tmp_path / f"checkpoint-{step}")
    again = trained(start, tmp_path, resume=True).model
    ours, theirs = again.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def test_with_bf16_accumulation_and_activation_checkpointing(tmp_path: Path) -> None:
    trainer = trained(small(), tmp_path, bf16=True, gradient_accumulation_steps=2, gradient_checkpointing=True)
    assert trainer.model.config.num_hidden_layers == 3
    assert all(layer.gradient_checkpointing and layer.training for layer in trainer.model.model.layers)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 10 and max(losses) < 1.1 * losses[0]


def test_what_cant_be_met_is_found_before_training(tmp_path: Path) -> None:
    example = {"input_ids": IDS[:2]}
    with pytest.raises(net2net.GrowthError, match="rates='boost' is nothing"):
        trainer_callback(GrowthSchedule({1: {"where": {"model.layers": 1}}}, example, rates="boost"))
    schedule = GrowthSchedule({2: {"where": {"model.layers": 1}}, 5000: {"sizes": {"model.layers.7": 2.0}}}, example)
    arguments = transformers.TrainingArguments(output_dir=str(tmp_path), max_steps=9000, report_to=[], use_cpu=True)
    data = [{"input_ids": row, "labels": row} for row in IDS]
    trainer = transformers.Trainer(small(), arguments, train_dataset=data, callbacks=[trainer_callback(schedule)])
    with pytest.raises(net2net.GrowthError, match=r"after step 5000: .*model.layers.7"):
        trainer.train()
    assert trainer.state.global_step == 0
