"""Mixtures get more experts in the middle of a run, and the run is resumed with them."""

from __future__ import annotations

import logging
from pathlib import Path

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
        if step > 3:
            net2net.balance_experts(training.model)
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
