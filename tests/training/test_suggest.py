"""Which growth next?"""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import net2net
from net2net.training import suggest


def error(network: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return (network(batch[0]) - batch[1]).square().mean()


class Narrow(nn.Module):
    """A hidden layer of two units is what holds it back; the other one is wide enough."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 32)
        self.second = nn.Linear(32, 2)
        self.third = nn.Linear(2, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.third(self.second(self.first(x).relu()))
        return out


def test_the_narrow_place_is_found_and_nothing_is_changed() -> None:
    torch.manual_seed(0)
    model = Narrow()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    x = torch.randn(256, 4)
    batches = [(x[i::4], x[i::4]) for i in range(4)] * 30
    for batch in batches * 8:
        optimizer.zero_grad()
        error(model, batch).backward()
        optimizer.step()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = {k: {n: torch.clone(t) for n, t in s.items()} for k, s in optimizer.state_dict()["state"].items()}
    candidates = {
        "first": {"sizes": {"first": 64}},
        "second": {"sizes": {"second": 4}},
        "wrong": {"sizes": {"third": 8}},
    }
    found = suggest(model, optimizer, x[:2], error, batches, held_out=[(x, x)], candidates=candidates)
    assert found.best.name == "second"
    trials = {trial.name: trial for trial in found.trials}
    assert trials["wrong"].refused and math.isnan(trials["wrong"].after)
    assert trials["second"].after < 0.8 * trials["no growth"].after
    assert trials["second"].flops > trials["no growth"].flops > 0
    assert "second" in str(found) and "third" in trials["wrong"].refused
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    after = optimizer.state_dict()["state"]
    assert all(torch.equal(state[k][n], after[k][n]) for k in state for n in state[k])


def test_repeated_layers_are_one_candidate() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2
    )
    model = transformers.LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    ids = torch.randint(0, 31, (2, 7))

    def loss(network: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(input_ids=batch, labels=batch).loss
        return found

    found = suggest(model, optimizer, {"input_ids": ids}, loss, [ids] * 4, held_out=[ids])
    names = {trial.name for trial in found.trials if not trial.refused}
    assert "model.layers.*.mlp.intermediate 2x" in names
    assert "deepen model.layers" in names and "no growth" in names


def test_batches_are_needed() -> None:
    model = Narrow()
    with pytest.raises(net2net.GrowthError, match="batches"):
        suggest(model, torch.optim.SGD(model.parameters()), torch.randn(2, 4), error, [], held_out=[])
