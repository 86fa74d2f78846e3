"""Networks with branches and coincident numbers: exact in every mode and on every branch that was given, or refused."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from random_branches import Case, Net, case

_ATTRIBUTES = ("lr", "patience", "window", "momentum", "inputs")


def outcome(found: Case) -> str:
    """Grow, and check the result by code of its own: "exact", or the kind of refusal."""
    net = found.net
    before = {name: getattr(net, name) for name in _ATTRIBUTES}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            if found.operation == "deepen":
                growth = net2net.deepen(net, found.request, found.examples)
            else:
                growth = net2net.widen(net, found.request, found.examples, **found.options)
        except net2net.VerificationError as error:
            assert "in train mode" in str(error), error  # what no example ran: refused by name, with the way out
            return "VerificationError"
        except net2net.GrowthError as refusal:
            assert str(refusal).strip()
            return type(refusal).__name__
    student = growth.student
    assert {name: getattr(student, name) for name in _ATTRIBUTES} == before
    assert set(_numbers(student)) <= set(_numbers(net))
    branches = [False, True] if isinstance(found.examples, list) else [False]
    for ask in branches:
        _same(net, student, ask)
    _trains(student, branches)
    if growth.verification.dead and any(w.how != "split" for w in growth.plan.widenings):
        assert any("learn" in str(w.message) or "gradient" in str(w.message) for w in told), growth.verification.dead
    return "exact"


def _numbers(net: nn.Module) -> list[Any]:
    return [m.number for m in net.modules() if hasattr(m, "number")]


def _outputs(net: nn.Module, x: Tensor, ask: bool, training: bool) -> list[Tensor]:
    net = copy.deepcopy(net).train(training)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    with torch.no_grad():
        result = net(x, ask)
    return list(result) if isinstance(result, tuple) else [result]


def _same(teacher: Net, student: nn.Module, ask: bool) -> None:
    new_norm = sum(isinstance(m, nn.BatchNorm1d) for m in student.modules()) > sum(
        isinstance(m, nn.BatchNorm1d) for m in teacher.modules()
    )
    for training in (False,) if new_norm else (False, True):
        x = torch.randn(11, teacher.inputs, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
        ours, theirs = (_outputs(net, x, ask, training) for net in (teacher, student))
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape
            assert (a - b).abs().max() <= 1e-10 * a.abs().max(), (training, ask)


def _trains(student: nn.Module, branches: list[bool]) -> None:
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), 1e-4)
    x = torch.randn(7, student.inputs, dtype=torch.float64)  # type: ignore[arg-type]
    for ask in branches:
        result = student(x, ask)
        loss = sum(r.square().mean() for r in (result if isinstance(result, tuple) else (result,)))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()


def test_forty_networks() -> None:
    outcomes = Counter(outcome(case(seed)) for seed in range(40))
    assert outcomes["exact"] >= 20, outcomes


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_networks(part: int) -> None:
    for seed in range(100 * part, 100 * part + 100):
        try:
            outcome(case(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
