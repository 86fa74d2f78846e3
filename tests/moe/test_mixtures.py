"""Mixtures are found by what they do, and their gates are measured."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import net2net
from mixtures import FORMS, RULES, Rule, network, tokens
from net2net.moe import MixtureOfExperts, mixtures


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_every_gate_is_measured(form: str, rule: Rule, top_k: int) -> None:
    found = mixtures(network(form, rule, 8, top_k), tokens())
    (mixture,) = found.found.values()
    assert (mixture.name, mixture.size, mixture.top_k, mixture.block) == ("1.experts", 8, top_k, "1")
    gate = mixture.gate
    assert gate is not None and gate.weight == "1.gate.weight"
    assert gate.selection == ("1.gate.correction" if rule.bias else None)
    assert gate.groups == rule.groups
    assert gate.scale == pytest.approx(rule.scale, rel=1e-4)
    if top_k > 1:  # of one expert that is renormalised, the weight is 1 whatever the score
        assert (gate.score, gate.renormalised) == (rule.score, rule.renormalised)


def test_a_gate_is_seen_where_every_expert_computes_every_token() -> None:
    found = mixtures(network("list", Rule(dense=True), 5, 2), tokens())
    assert found.found["1.experts"].top_k == 2
    assert found.found["1.experts"].rule == "softmax, the 2 largest, renormalised"


def test_a_zero_router_and_a_zero_bias_are_told_apart() -> None:
    model = network("stacked", Rule("sigmoid", bias=True), 8, 2)
    with torch.no_grad():
        model[1].gate.weight.zero_()
        model[1].gate.correction.zero_()
    assert mixtures(model, tokens()).found["1.experts"].rule == "sigmoid, the 2 largest after a bias, renormalised"
    assert float(model[1].gate.weight.abs().max()) == 0


def test_an_unknown_gate_is_named_as_such() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = FORMS["stacked"](Rule(), 4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.reshape(-1, x.shape[-1])
            _, weights, chosen = self.inner.gate(flat)
            return self.inner.experts(flat, chosen, weights.square() + 0.1).reshape(x.shape)

    model = nn.Sequential(nn.Linear(4, 6), Own()).double()
    mixture = mixtures(model, tokens()).found["1.inner.experts"]
    assert (mixture.gate, mixture.top_k, mixture.rule) == (None, 2, "a rule of its own")


class Inside(nn.Module):
    """Chooses among its experts itself, so that nobody else can."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.expert_weight = nn.Parameter(torch.randn(3, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = self.gate(x).softmax(-1)
        return torch.einsum("...e,eij,...j->...i", weights, self.expert_weight, x)


class Experts(Inside):
    pass


def test_what_looks_like_a_mixture_is_named_with_the_reason() -> None:
    found = mixtures(nn.Sequential(Experts()), torch.randn(5, 4))
    assert not found.found
    assert "isn't called with tokens" in found.unknown["0"]


def test_layers_and_heads_are_no_experts() -> None:
    class Layers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
            self.head = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for layer in self.layers:
                x = torch.relu(layer(x))
            return self.head(x)

    model = nn.Sequential(Layers(), nn.Conv1d(5, 5, 3))
    found = mixtures(nn.Sequential(Layers()), torch.randn(2, 5, 4))
    assert not found.found and not found.unknown
    assert not mixtures(model[1], torch.randn(2, 5, 4)).found


def test_experts_that_no_example_runs_are_named() -> None:
    class Skips(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Linear(4, 2)
            self.experts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.gate(x)[..., :1] * self.experts[0](x)

    found = mixtures(Skips(), torch.randn(5, 4))
    assert "1 of its 2 modules aren't called" in found.unknown["experts"]


def test_the_library_s_own_layer_is_found_and_printed() -> None:
    model = nn.Sequential(MixtureOfExperts(4, 8, experts=6, top_k=3, gated=False, bias=True, shared=nn.Linear(4, 4)))
    text = str(mixtures(model, torch.randn(7, 4)))
    assert "0.experts        6          3  softmax, the 3 largest, renormalised" in text


def test_experts_are_a_dimension_that_analyze_lists() -> None:
    model = network("stacked", Rule("sigmoid", bias=True), 8, 2)
    analysis = net2net.analyze(model, tokens())
    (experts,) = analysis.experts.values()
    assert (experts.name, experts.size, experts.growth) == ("1.experts", 8, "experts")
    assert experts.reason.startswith("sigmoid, the 2 largest after a bias, renormalised; 2 per token")
    assert {(place.tensor, place.axis) for place in experts.places} >= {("1.gate.weight", 0), ("1.gate.correction", 0)}
    assert "1.experts" in str(analysis) and "1.experts" not in analysis.dimensions
    assert net2net.analyze(nn.Sequential(nn.Linear(4, 6)), torch.randn(2, 4)).experts == {}
