"""What is said of copies of experts: their distance, their loads, and whether they are chosen together."""

from __future__ import annotations

import pytest
import torch

import net2net
from mixtures import FORMS, Rule, network, tokens
from net2net.moe import replica_figures, watch_replicas


@pytest.mark.parametrize("routing", ["replica", "raise_k", "free"])
@pytest.mark.parametrize("form", FORMS)
def test_the_report_says_that_copies_are_twins_until_they_part(form: str, routing: str) -> None:
    growth = net2net.upcycle(network(form, Rule(), 4, 2), "2x", tokens(), routing=routing)
    (line,) = [line for line in growth.report().splitlines() if line.startswith("1.experts")]
    assert line.split()[1:3] == ["8", "0.0%"]  # uneven shares of the output don't count
    assert line.endswith(" 0.0%" if routing == "replica" else "100.0%")
    with torch.no_grad():
        for parameter in growth.student[1].experts.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    (line,) = [line for line in growth.report().splitlines() if line.startswith("1.experts")]
    assert float(line.split()[2].rstrip("%")) > 1


@pytest.mark.parametrize("form", FORMS)
def test_replicas_of_replicas_are_watched_too(form: str) -> None:
    once = net2net.upcycle(network(form, Rule(), 4, 2), [2, 1, 1, 1], tokens()).student
    student = net2net.upcycle(once, "2x", tokens()).student.train()
    assert replica_figures(student) == {"replicas/twin_distance": 0.0}  # no tokens so far
    student(tokens())
    found = watch_replicas(student)
    for one in found.values():
        loads = [share for share in one.load if share is not None]
        assert one.distance == 0 and (not loads or min(loads) <= 1 <= max(loads))
    assert replica_figures(student)["replicas/largest_load"] > 1
