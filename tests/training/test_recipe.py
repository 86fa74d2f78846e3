"""A recipe is a run: it begins small, grows where it says, ends at the target's size, and costs what it says."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from net2net.errors import OptionError
from net2net.training import Training, flops_of, recipe, warm_up_stable_decay

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Shape:
    layers: int
    width: int = 4


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = x + self.down(torch.relu(self.up(x)))
        return y


class Network(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Residual(shape.width) for _ in range(shape.layers))
        self.head = nn.Linear(shape.width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        y: torch.Tensor = self.head(x)
        return y


def test_a_run_ends_at_the_targets_size_with_the_rates_of_the_recipe() -> None:
    plan = recipe("late-depth", target=Shape(5), steps=40, first=2, after=0.5)
    assert plan.start == Shape(2) and plan.blocks == (2, 5)
    torch.manual_seed(0)
    model = Network(plan.start)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    training = Training(model, optimizer, plan.scheduler(optimizer))
    schedule = plan.schedule(model, X)
    schedule.check(training, max_steps=plan.steps)
    rates, flops = [], 0
    for step in range(1, plan.steps + 1):
        rates.append(training.optimizer.param_groups[0]["lr"])
        flops += flops_of(training.model, (X,), {})
        training.optimizer.zero_grad()
        training.model(X).square().mean().backward()
        training.optimizer.step()
        training.scheduler.step()
        before = training.model
        training = schedule.after(step, training)
        if step == 20:
            assert torch.allclose(before(X), training.model(X), atol=1e-6)
    assert len(training.model.blocks) == 5 and training.optimizer.param_groups[0]["lr"] == 0
    assert rates == pytest.approx([0.01 * warm_up_stable_decay(step, 40) for step in range(40)])
    assert schedule.ramp == plan.ramp == 1
    one, two, five = (flops_of(Network(Shape(layers)), (X,), {}) for layers in (1, 2, 5))
    others = 40 * (2 * one - two)  # what isn't blocks
    assert math.isclose((flops - others) / (40 * five - others), plan.cost)


def test_the_rate_rises_stays_and_falls() -> None:
    rates = [warm_up_stable_decay(step, 1200) for step in range(1200)]
    assert rates[0] == 1 / 50 and set(rates[49:961]) == {1.0} and math.isclose(rates[-1], 1 / 240)


def test_a_config_is_cut_where_it_has_an_entry_for_each_block() -> None:
    config = SimpleNamespace(num_hidden_layers=8, layer_types=["a", "b"] * 4, widths=[1, 2])
    kept = copy.deepcopy(config)
    start = recipe("late-depth", target=config, steps=100).start
    assert (start.num_hidden_layers, start.layer_types, start.widths) == (3, ["a", "b", "a"], [1, 2])
    assert config == kept


def test_a_transformers_model_needs_no_path() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_layer=4, n_embd=8, n_head=2, vocab_size=11, n_positions=16)
    plan = recipe("late-depth", target=config, steps=10, first=1)
    model = transformers.GPT2LMHeadModel(plan.start)
    growth = plan.schedule(model, {"input_ids": torch.arange(6)[None]}).growth(6, model)
    assert growth is not None and growth.student.config.n_layer == 4 and len(growth.student.transformer.h) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "late-width"}, "no recipe 'late-width'; use one of late-depth"),
        ({"target": Shape(1)}, "first=1: the target has layers=1"),
        ({"first": 5}, "first=5: the target has layers=5; use 1 to 4"),
        ({"after": 0.9}, "after=0.9: the rate decays after 0.8"),
        ({"steps": 0}, "steps=0 are too few"),
        ({"target": object()}, "doesn't say how many blocks it has; give a config with one of num_hidden_layers"),
    ],
)
def test_what_a_recipe_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        recipe(**{"name": "late-depth", "target": Shape(5), "steps": 100, **options})  # type: ignore[arg-type]


def test_blocks_that_are_not_found_are_asked_for() -> None:
    plan = recipe("late-depth", target=Shape(5), steps=100, first=2)
    twice = nn.ModuleDict({"a": Network(Shape(2)), "b": Network(Shape(2))})
    with pytest.raises(OptionError, match=r"one of a\.blocks, b\.blocks; give recipe\(\.\.\., where="):
        plan.schedule(twice, X)
    with pytest.raises(OptionError, match="has no list of 2 modules"):
        plan.schedule(nn.Linear(4, 3), X)
    named = recipe("late-depth", target=Shape(5), steps=100, first=2, where="b.blocks", init="stack")
    assert named.schedule(twice, X).events == {60: {"where": {"b.blocks": 3}, "init": "stack"}}
    assert "2 -> 5 blocks (stack) after 60 of 100 steps" in str(named)
