"""How many replicas each expert gets: evenly, as listed, or by its utility."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import net2net
from mixtures import FORMS, Rule, network, tokens
from net2net.moe import MixtureOfExperts
from net2net.moe._counts import by_utility


@given(
    scores=st.lists(st.floats(0, 10), min_size=1, max_size=12),
    cap=st.integers(1, 4),
    data=st.data(),
)
def test_counts_follow_the_scores(scores: list[float], cap: int, data: st.DataObject) -> None:
    size = len(scores)
    total = data.draw(st.integers(size, size * (1 + cap)))
    counts = by_utility(torch.tensor(scores, dtype=torch.float64), total, cap, "experts")
    assert sum(counts) == total
    assert all(1 <= c <= 1 + cap for c in counts)
    for a in range(size):
        for b in range(size):
            if scores[a] > scores[b]:
                assert counts[a] >= counts[b]
    assert sum(1 < c < 1 + cap for c in counts) <= 1  # the best get all that they may


def test_what_cannot_be_handed_out_is_refused() -> None:
    with pytest.raises(net2net.SizeError, match="become 16, not 17"):
        by_utility(torch.rand(4), 17, 3, "experts")
    with pytest.raises(net2net.OptionError, match="no finite numbers"):
        by_utility(torch.tensor([1.0, float("nan")]), 3, 3, "experts")


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    result: torch.Tensor = model(batch).square().mean()
    return result


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_the_gradients_of_each_expert(form: str) -> None:
    model = network(form, Rule(), 4, 2)
    batches = [torch.randn(20, 4, dtype=torch.float64) for _ in range(3)]
    scores = net2net.expert_scores(model, batches, loss)["1.experts"]
    assert all(p.grad is None for p in model.parameters())
    (sum(loss(model, b) for b in batches) / 3).backward()  # type: ignore[union-attr]  # a sum of tensors
    if form == "stacked":
        expected = sum(p.grad.square().flatten(1).sum(1) for p in model[1].experts.parameters())
    else:
        expected = torch.stack([sum(p.grad.square().sum() for p in e.parameters()) for e in model[1].experts])
    assert torch.allclose(scores, expected)
    sizes = net2net.expert_scores(model, batches, loss, kind="weight")["1.experts"]
    both = net2net.expert_scores(model, batches, loss, kind="gradient x weight")["1.experts"]
    assert torch.allclose(both, scores.sqrt() * sizes)


def test_better_experts_get_more_replicas_and_the_result_is_exact() -> None:
    model = network("stacked", Rule(), 6, 2)
    scores = net2net.expert_scores(model, [tokens()], loss)
    growth = net2net.upcycle(model, "2x", tokens(), scores=scores)
    counts = growth.plan.changes[0].summary()["counts"]
    order = scores["1.experts"].argsort(descending=True).tolist()
    assert sorted(counts, reverse=True) == [4, 4, 1, 1, 1, 1]
    assert {order[0], order[1]} == {k for k, c in enumerate(counts) if c == 4}
    assert growth.verification.max_relative_error <= 1e-10
    capped = net2net.upcycle(model, "2x", tokens(), scores=scores, cap=1).plan.changes[0].summary()["counts"]
    assert capped == [2] * 6


def test_layers_are_ranked_each_for_itself() -> None:
    model = nn.Sequential(MixtureOfExperts(4, 8, 4, 2), MixtureOfExperts(4, 8, 4, 2)).double()
    scores = {"0.experts": torch.tensor([1.0, 2.0, 3.0, 4.0]), "1.experts": torch.tensor([0.4, 0.3, 0.2, 0.1])}
    growth = net2net.upcycle(model, 7, torch.randn(9, 4, dtype=torch.float64), scores=scores)
    assert [c.summary()["counts"] for c in growth.plan.changes] == [[1, 1, 1, 4], [4, 1, 1, 1]]


def test_refusals() -> None:
    model = network("stacked", Rule(), 4, 2)
    for arguments, message in (
        ({"batches": []}, "there are none"),
        ({"kind": "loud"}, "kind='loud'"),
        ({"loss": lambda m, b: b.sum()}, "doesn't call the model"),
        ({"model": nn.Linear(4, 4).double()}, "no mixture of experts to score"),
    ):
        given = {"model": model, "batches": [tokens()], "loss": loss, **arguments}
        with pytest.raises(net2net.OptionError, match=message):
            net2net.expert_scores(**given)
    with pytest.raises(net2net.OptionError, match="scores= has nothing for"):
        net2net.upcycle(model, 2.0, tokens(), scores={})
    with pytest.raises(net2net.UnknownNameError, match="no mixture"):
        net2net.upcycle(model, 2.0, tokens(), scores={"2": torch.ones(4)})
    with pytest.raises(net2net.OptionError, match="and so does the list"):
        net2net.upcycle(model, [2, 2, 2, 2], tokens(), scores={"1.experts": torch.ones(4)})
    frozen = network("stacked", Rule(), 4, 2).requires_grad_(False)
    with pytest.raises(net2net.OptionError, match="don't train"):
        net2net.expert_scores(frozen, [tokens()], loss)
    assert len(net2net.expert_scores(frozen, [tokens()], loss, kind="weight")["1.experts"]) == 4
