"""The parts of a search: what comes next, what a network costs, twins."""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

import net2net

pytest.importorskip("optuna")
from net2net.exploration import Cost, Knob, Tried
from net2net.exploration._cost import cost_of, metered
from net2net.exploration._grown import Grown, twin
from net2net.exploration._sampler import next_architecture
from net2net.exploration._space import fits_into, space_of
from net2net.exploration._tried import front
from net2net.training import counting

SPACE = {name: Knob(name, "width", (name,), (8, 12, 16)) for name in ("a", "b")}


def tried(number: int, a: int, b: int, score: float | None, outcome: str = "trained", flops: float = 1.0) -> Tried:
    cost = Cost(1, flops, flops, 1, 1.0)
    return Tried(number, outcome, "", {"a": a, "b": b}, None, (), score, cost, 1.0, "", {})


def test_the_next_network_is_one_of_the_best_or_larger_and_nothing_that_was_refused() -> None:
    trials = [tried(0, 8, 8, 1.0), tried(1, 12, 8, 0.5), tried(2, 8, 12, 9.0), tried(3, 8, 16, 8.0)]
    trials += [tried(4, 16, 8, None, "refused"), tried(5, 12, 12, None, "beyond a limit")]
    draw = random.Random(0)
    found = [next_architecture(SPACE, trials, 1, draw, cheap_too=False) for _ in range(200)]
    assert {"a": 16, "b": 8} not in found and not any(fits_into({"a": 12, "b": 12}, f) for f in found)
    assert {"a": 12, "b": 8} in found  # the best one trains on
    narrow = {"a": SPACE["a"]}
    last = [tried(0, 8, 8, 1.0), tried(1, 12, 8, None, "refused"), tried(2, 16, 8, None, "beyond a limit")]
    last = [replace(t, architecture={"a": t.architecture["a"]}) for t in last]
    assert {next_architecture(narrow, last, 1, draw, cheap_too=False)["a"] for _ in range(50)} == {8}  # nothing is left
    better = [next_architecture(SPACE, trials[:4], 1, draw, cheap_too=False) for _ in range(200)]
    worse = [next_architecture(SPACE, trials[:4], -1, draw, cheap_too=False) for _ in range(200)]
    wide_b = [sum(f["b"] >= 12 for f in some) for some in (better, worse)]
    assert wide_b[1] > 1.5 * wide_b[0]  # lower scores are better, or higher ones


def test_the_front_is_not_beaten() -> None:
    trials = [tried(0, 8, 8, 1.0, flops=1), tried(1, 8, 8, 0.5, flops=2), tried(2, 8, 8, 0.7, flops=3)]
    trials += [tried(3, 8, 8, 0.2, flops=4), tried(4, 8, 8, None, "failed")]
    assert [t.number for t in front(trials, 1)] == [0, 1, 3]
    assert [t.number for t in front(trials, -1)] == [0]


def test_costs_are_those_that_one_counts_by_hand() -> None:
    model = nn.Sequential(nn.Linear(10, 100, bias=False), nn.ReLU(), nn.Linear(100, 5, bias=False))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    cost = cost_of(model, optimizer, torch.randn(20, 10))
    assert cost.parameters == 1500 and cost.flops == 2 * 1500 and cost.latency > 0
    assert cost.training_flops == 20 * (2 * 1500 * 3 - 2 * 1000)  # no gradient of the inputs
    weights, hidden = 4 * 1500, 4 * 20 * 100
    assert 3 * weights + 2 * hidden <= cost.memory <= 3 * weights + 4 * hidden + 4000  # weights, momentum, gradients
    assert all(torch.equal(before[n], t) for n, t in model.state_dict().items()) and not optimizer.state
    with metered(model, cost, torch.randn(20, 10)) as meter:
        with torch.no_grad():
            model(torch.randn(7, 10))
        assert meter.flops == 0
        with counting() as counter:
            for rows in (7, 40):
                model(torch.randn(rows, 10)).sum().backward()
    assert meter.flops == counter.get_total_flops()


def test_a_twin_has_the_architecture_and_nothing_that_was_learnt() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    optimizer = torch.optim.AdamW(model.parameters())
    x = torch.randn(8, 1, 8, 8)
    for _ in range(3):
        model(x).square().sum().backward()
        optimizer.step()
    one = twin(Grown(model, optimizer, {}), seed=3)
    assert not one.optimizer.state and {id(p) for p in one.model.parameters()} == {
        id(p) for group in one.optimizer.param_groups for p in group["params"]
    }
    assert float(one.model[1].running_mean.abs().max()) == 0 and float((one.model[1].weight - 1).abs().max()) == 0
    for (name, mine), theirs in zip(one.model.named_parameters(), model.parameters(), strict=True):
        assert mine.shape == theirs.shape and not torch.equal(mine, theirs), name


def test_a_space_is_narrowed_by_patterns() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(16, 40), nn.Linear(40, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.as_tensor(self.down(self.up(x).relu()))

    parts = {"enter": nn.Linear(3, 16), "blocks": nn.Sequential(Block(), Block()), "leave": nn.Linear(16, 2)}
    model = nn.Sequential(OrderedDict(parts))
    analysis = net2net.analyze(model, torch.randn(2, 3))
    space = space_of(analysis)
    assert space["blocks.*.up"].members == ("blocks.0.up", "blocks.1.up") and space["blocks.*.up"].choices == (
        40,
        64,
        80,
    )
    assert "deepen blocks" in space and not any(
        name.startswith("deepen blocks.") for name in space
    )  # no layers inside blocks
    assert list(space_of(analysis, ["blocks.*"])) == ["blocks.*.up"]
    assert space_of(analysis, {"deepen blocks": ["2x"]})["deepen blocks"].choices == (0, 2)
