"""Networks with branches and coincident numbers: exact in every mode and on every branch that was given, or refused."""

from __future__ import annotations

import copy
import warnings
from collections import Counter
from itertools import product
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
    found = growth.verification
    silent = {*(found.dead or ()), *found.idle}
    assert found.dead is not None and _without_gradient(student, growth.plan, branches) <= silent
    assert not silent or any("no gradient reaches" in str(w.message) for w in told), silent
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
        _step(student, optimizer, x, ask)


def _step(net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, ask: bool) -> None:
    result = net(x, ask)
    loss = sum(r.square().mean() for r in (result if isinstance(result, tuple) else (result,)))
    optimizer.zero_grad()
    loss.backward()  # type: ignore[union-attr]
    optimizer.step()


def _without_gradient(student: nn.Module, plan: net2net.Plan, branches: list[bool]) -> set[str]:
    """The tensors of which the new entries along some axis get no gradient in any mode, on many inputs."""
    touched = {name: torch.zeros(p.shape, dtype=torch.bool) for name, p in student.named_parameters()}
    for training, ask in product((False, True), branches):
        net = copy.deepcopy(student).train(training)
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        for _ in range(3):
            _step(net, optimizer, torch.randn(200, student.inputs, dtype=torch.float64), ask)  # type: ignore[arg-type]
            for name, parameter in net.named_parameters():
                if parameter.grad is not None:
                    touched[name] |= parameter.grad != 0
    found = {
        name for name, tensor in plan.tensors.items() if tensor.new and name in touched and not touched[name].any()
    }
    for name, tensor in plan.tensors.items():
        for axis, m in enumerate(tensor.axes if name in touched else ()):
            seen = set() if m is None else set(m.source.tolist())
            first = [] if m is None else [m.source.tolist().index(old) for old in seen if old >= 0]
            new = [] if m is None else [place for place in range(len(m.source)) if place not in first]
            if new and not touched[name].index_select(axis, torch.tensor(new)).any():
                found.add(name)
    return found


def test_twenty_networks() -> None:
    outcomes = Counter(outcome(case(seed)) for seed in range(20))
    assert outcomes["exact"] >= 10, outcomes


def test_a_mirrored_producer_in_a_network_in_which_nothing_learns() -> None:
    assert outcome(case(550)) == "exact"  # not all of what gets no gradient was told of


@pytest.mark.sweep
@pytest.mark.parametrize("part", range(20))
def test_two_thousand_networks(part: int) -> None:
    for seed in range(100 * part, 100 * part + 100):
        try:
            outcome(case(seed))
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
