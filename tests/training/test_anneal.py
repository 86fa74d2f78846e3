"""The share of something new rises, and goes back where a score drops."""

from __future__ import annotations

import copy
import math

import pytest
import torch

import net2net
from net2net.training import Anneal

pytestmark = pytest.mark.filterwarnings("error")


def test_it_rises_to_1_and_stays() -> None:
    anneal = Anneal(4)
    assert [anneal.step() for _ in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1] and anneal.done


def test_a_drop_goes_back_to_the_share_of_the_last_good_score_at_half_the_rate() -> None:
    anneal = Anneal(8, tolerance=0.1)
    anneal.step(10.0)
    anneal.step(9.5)  # within the tolerance of the best
    assert anneal.step() == 0.375
    assert anneal.step(8.9) == 0.125  # measured at 0.375
    assert anneal.step() == 0.1875


@pytest.mark.parametrize("score", [-12.0, math.nan])
def test_scores_below_0_and_none_at_all(score: float) -> None:
    anneal = Anneal(4)
    anneal.step(-10.0)
    assert anneal.step(score) == 0.0


def test_a_network_and_its_optimizer_go_back_too() -> None:
    network = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(network.parameters())
    anneal = Anneal(4, keep=[network, optimizer])
    for score in (5.0, None, 1.0):
        if score == 5.0:
            anneal.step(score)
            good = copy.deepcopy(network.state_dict())
        network(torch.ones(1, 2)).sum().backward()
        optimizer.step()
        if score == 1.0:
            assert not torch.equal(network.weight, good["weight"])
            anneal.step(score)
    assert torch.equal(network.weight, good["weight"]) and not optimizer.state_dict()["state"]


def test_a_run_that_was_stopped_goes_on() -> None:
    first, second = Anneal(8), Anneal(8)
    first.step(3.0)
    first.step()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert [first.step(1.0), first.step()] == [second.step(1.0), second.step()]


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"steps": 1.5}, {"steps": 3, "tolerance": -1}])
def test_numbers_that_make_no_sense(wrong: dict[str, float]) -> None:
    with pytest.raises(net2net.OptionError):
        Anneal(**wrong)  # type: ignore[arg-type]  # wrong on purpose
