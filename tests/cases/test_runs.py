"""A run that grows: one optimizer for two networks, averages of any kind, what is said aloud, what can't go on."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import net2net
from net2net.optimizer import ramp
from net2net.training import GrowthSchedule, Training, adopt
from support import X, mlp, refused


def actor_and_critic(order: str) -> tuple[nn.Module, nn.Module, nn.Parameter, torch.optim.Optimizer]:
    actor, critic = mlp(), nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    temperature = nn.Parameter(torch.zeros((), dtype=torch.float64))
    networks: dict[str, list[nn.Parameter]] = {
        "a": list(actor.parameters()), "c": list(critic.parameters()), "t": [temperature]
    }  # fmt: skip
    groups: list[Any] = [{"params": [p for k in part for p in networks[k]]} for part in order.split(" ")]
    optimizer = torch.optim.Adam(groups, lr=1e-2)
    for _ in range(3):
        loss(actor, critic, temperature, optimizer)
    return actor, critic, temperature, optimizer


def loss(actor: nn.Module, critic: nn.Module, temperature: nn.Parameter, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    value = (actor(X).square().sum() + critic(X).square().sum()) * temperature.exp()
    value.backward()
    optimizer.step()


@pytest.mark.parametrize("order", ["act", "cat", "tc a", "a c t", "ct a"])
@pytest.mark.parametrize("rates", ["keep", "paper"])
def test_one_optimizer_for_two_networks(order: str, rates: str) -> None:
    actor, critic, temperature, optimizer = actor_and_critic(order)
    growth = net2net.widen(actor, {"0": 12}, X)
    new = growth.optimizer(optimizer, rates=rates, ramp=0)
    groups = {p: group for group in new.param_groups for p in group["params"]}
    assert set(groups) == {*growth.student.parameters(), *critic.parameters(), temperature}
    for parameter in (*critic.parameters(), temperature):
        assert groups[parameter]["lr"] == 1e-2
        before, after = optimizer.state[parameter], new.state[parameter]
        assert all(torch.equal(before[key], after[key]) and before[key] is not after[key] for key in before)
    if rates == "keep":  # a checkpoint of it fits one that is made anew in the same order
        position = {p: k for k, p in enumerate(p for g in optimizer.param_groups for p in g["params"])}
        others = [p for g in new.param_groups for p in g["params"] if p in position]
        assert others == sorted(others, key=position.__getitem__)
    loss(growth.student, critic, temperature, new)
    second = net2net.widen(critic, {"0": 9}, X)
    assert len(second.optimizer(new).param_groups) == len(new.param_groups)


def test_its_schedule_and_growth_in_place_go_on() -> None:
    actor, critic, temperature, optimizer = actor_and_critic("act")
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 5)
    growth = net2net.widen(actor, {"0": 12}, X)
    new = growth.optimizer(optimizer)
    assert growth.scheduler(schedule, new).get_last_lr() == schedule.get_last_lr()
    adopt(growth, actor, optimizer)
    assert any(p is temperature for p in optimizer.param_groups[0]["params"]) and temperature in optimizer.state
    loss(actor, critic, temperature, optimizer)


def test_an_optimizer_of_another_network_is_refused() -> None:
    growth = net2net.widen(mlp(), {"0": 12}, X)
    other = torch.optim.SGD(mlp().parameters(), lr=0.1)
    refused(net2net.OptionError, lambda: growth.optimizer(other), "none of the optimizer's 6 parameters", "(8, 4)")
    lbfgs = torch.optim.LBFGS(growth.teacher.parameters())
    refused(net2net.OptionError, lambda: growth.optimizer(lbfgs), "LBFGS", "one history", "growth.student.parameters()")
    for wrong in (None, torch.optim.SGD, 3):
        refused(net2net.OptionError, lambda wrong=wrong: growth.optimizer(wrong), "the optimizer is")  # type: ignore
    refused(net2net.OptionError, lambda: growth.scheduler(None, lbfgs), "the scheduler is None")  # type: ignore


class Average(nn.Module):
    """As libraries have it: the average at `.module`, without gradients, and a rate."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.module, self.decay = copy.deepcopy(model).eval().requires_grad_(False), 0.9


def test_averages_of_every_kind_follow() -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, {"0": 12}, X)
    average = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.mul_(0.9)
    for wrapped, bare in (
        (average, lambda m: m),
        (AveragedModel(average), lambda m: m.module),
        (Average(average), lambda m: m.module),
    ):
        grown = growth.ema(wrapped)
        assert type(grown) is type(wrapped) and bare(grown)[0].out_features == 12 and bare(wrapped)[0].out_features == 8
        assert torch.allclose(bare(grown)(X), average(X), rtol=1e-12)
        assert bare(grown).training == bare(wrapped).training
    assert grown.decay == 0.9 and not any(p.requires_grad for p in grown.parameters())


@pytest.mark.parametrize("wrong", [3, None, {}])
def test_what_is_no_average_is_refused(wrong: Any) -> None:
    refused(net2net.OptionError, lambda: net2net.widen(mlp(), {"0": 12}, X).ema(wrong), "the average is")


class Lion(torch.optim.Optimizer):
    pass


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda: GrowthSchedule({20: 2.0}, X), ("after step 20 is 2.0", "{20: {'sizes': 2.0}}")),
        (lambda: GrowthSchedule([20], X), ("events is a list",)),
        (lambda: GrowthSchedule({20: {"size": 2.0}}, X), ("after step 20 has 'size'", "sizes")),
        (lambda: GrowthSchedule({20: {"sizes": 2.0}}, None), ("example_inputs is None",)),
        (
            lambda: GrowthSchedule({1: {"sizes": 2.0}}, X).after(1, mlp()),
            ("training is a Sequential",),
        ),
        (lambda: net2net.register_optimizer(Lion, {}), ("Lion", "an empty dict", "first moment")),
        (lambda: net2net.register_optimizer("Lion", {"a": "same"}), ("'Lion' (str) is not a class",)),
        (lambda: net2net.register_optimizer(Lion, {"a": 3}), ("'a' is 3",)),
        (lambda: adopt(3, mlp(), None), ("the growth is 3",)),
        (lambda: ramp(None), ("the optimizer is None",)),
    ],
)
def test_wrong_kinds_around_training_are_named(call: Any, parts: tuple[str, ...]) -> None:
    refused(net2net.OptionError, call, *parts)


def test_a_growth_is_logged_and_one_that_was_not_taken_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    model = mlp()
    training = Training(model, torch.optim.SGD(model.parameters(), lr=0.1))
    schedule = GrowthSchedule({2: {"sizes": {"0": 12}}, 4: {"where": {"0": 1}}}, X)
    with caplog.at_level(logging.INFO, logger="net2net"):
        schedule.check(training)
        assert not caplog.messages
        schedule.after(1, training)
        schedule.after(2, training)
        assert caplog.messages == ["grown after step 2: 0 8 -> 12 (exact); 108 -> 152 parameters"]
        refused(net2net.OptionError, lambda: schedule.after(3, training), "after step 2", "training = schedule.after(")
        grown = schedule.after(3, schedule.after(2, training))
        assert schedule.after(4, grown).model is not grown.model and "after step 4" in caplog.messages[-1]
    with pytest.warns(net2net.Net2NetWarning, match="ends after step 3: the growth after step 4 won't happen"):
        schedule.check(training, max_steps=3)


@pytest.mark.parametrize(
    ("event", "said", "word", "size"),
    [
        ({"sizes": {"model.layers.*.mlp.up_proj": "2x"}}, "20 -> 40", "intermediate_size", 40),
        ({"where": {"model.layers": 1}}, "1 -> 2 blocks", "num_hidden_layers", 2),
    ],
    ids=["wider", "deeper"],
)
def test_the_trainer_says_so_and_looks_for_the_best_model_anew(
    tmp_path: Path, event: dict[str, Any], said: str, word: str, size: int
) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=20, num_hidden_layers=1, num_attention_heads=2
    )
    ids = torch.randint(3, 31, (16, 9), generator=torch.Generator().manual_seed(0))
    data = [{"input_ids": row, "labels": row} for row in ids]
    printed: list[dict[str, Any]] = []

    class Printer(transformers.TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **known: Any) -> None:
            printed.append(dict(logs))

    class Worse(transformers.Trainer):  # type: ignore[misc]
        def evaluate(self, *args: Any, **known: Any) -> Any:
            """The first model is the best one."""
            return {"eval_loss": float(self.state.global_step)}

    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, per_device_train_batch_size=4, learning_rate=1e-3, save_steps=2,
        eval_steps=2, eval_strategy="steps", load_best_model_at_end=True, metric_for_best_model="loss",
        report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    schedule = GrowthSchedule({3: event, 99: event}, {"input_ids": ids[:2]})
    trainer = Worse(
        transformers.LlamaForCausalLM(config),
        arguments,
        train_dataset=data,
        eval_dataset=data,
        callbacks=[net2net.training.trainer_callback(schedule), Printer()],
    )
    with pytest.warns(net2net.Net2NetWarning, match="after step 99 won't happen"):
        trainer.train()
    assert trainer.state.best_global_step == 4 and getattr(trainer.model.config, word) == size
    grown = [entry for entry in trainer.state.log_history if "growth" in entry]
    assert [entry["step"] for entry in grown] == [3] and said in grown[0]["growth"], grown
    assert any("growth" in logs for logs in printed)
