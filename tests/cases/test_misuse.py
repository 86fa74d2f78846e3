"""Wrong calls: each is refused in one clear line that names what was given."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import net2net
from net2net.operators import _room
from support import X, mlp, refused


def holding(value: float) -> nn.Module:
    model = mlp()
    with torch.no_grad():
        model[2].weight[1, 2] = value  # type: ignore[index]
    return model


WRONG: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "state_dict": (lambda: net2net.widen(mlp().state_dict(), 2.0, X), ("a state_dict", "nn.Module")),  # type: ignore
    "analysed state_dict": (lambda: net2net.analyze(mlp().state_dict(), X), ("a state_dict",)),  # type: ignore
    "no model": (lambda: net2net.widen(None, 2.0, X), ("the model is None",)),  # type: ignore
    "class": (lambda: net2net.widen(nn.Linear, 2.0, X), ("the class Linear", "Linear(...)")),  # type: ignore
    "function": (lambda: net2net.deepen(torch.relu, 2.0, X), ("the function relu",)),  # type: ignore
    "method": (lambda: net2net.widen(mlp().forward, 2.0, X), ("the function forward",)),  # type: ignore
    "student that is a class": (lambda: net2net.transfer(mlp(), nn.Linear, X), ("the student", "Linear")),  # type: ignore
    "verified growth": (lambda: net2net.verify(mlp(), 3, X), ("the student is 3 (int)",)),  # type: ignore
    "empty batch": (lambda: net2net.widen(mlp(), 2.0, X[:0]), ("empty batch", "(0, 4)")),
    "empty batch by name": (lambda: net2net.deepen(mlp(), 2.0, {"input": X[:0]}), ("empty batch",)),
    "empty batch to verify": (lambda: net2net.verify(mlp(), mlp(), X[:0]), ("empty batch",)),
    "meta input": (lambda: net2net.widen(mlp(), 2.0, X.to("meta")), ("example_inputs is on the meta device",)),
    "swapped": (lambda: net2net.widen(mlp(), X, {"0": 12}), ("sizes is a Tensor",)),  # type: ignore
    "path for a factor": (
        lambda: net2net.widen(mlp(), "body.0.a", X),
        ("not a factor", "{'body.0.a': '2x'}"),
    ),
    "place for a factor": (lambda: net2net.deepen(mlp(), "blocks", X), ("where='blocks'", "not a factor")),
    "number as a name": (lambda: net2net.widen(mlp(), {0: 12}, X), ("the key 0 (int)", "'0'")),  # type: ignore
    "number as a place": (lambda: net2net.deepen(mlp(), {0: 1}, X), ("the key 0 (int)",)),  # type: ignore
    "no sizes": (lambda: net2net.widen(mlp(), None, X), ("sizes is None",)),  # type: ignore
    "NaN": (lambda: net2net.widen(holding(float("nan")), 2.0, X), ("'2.weight'", "NaN")),
    "infinity": (lambda: net2net.deepen(holding(float("inf")), {"0": 1}, X), ("'2.weight'", "infinity")),
    "NaN to transfer": (lambda: net2net.transfer(holding(float("nan")), mlp(), X), ("'2.weight'", "NaN")),
    "number for a growth": (lambda: net2net.twins(3), ("the growth is 3 (int)", "net2net.widen")),  # type: ignore
    "calibration": (
        lambda: net2net.deepen(mlp(), {"0": 1}, X, 3),  # type: ignore
        ("calibration is 3 (int)", "batches"),
    ),
    "ramp of a schedule": (
        lambda: net2net.training.GrowthSchedule({3: {"sizes": 2.0}}, X, ramp="a"),  # type: ignore
        ("ramp='a'", "number of steps"),
    ),
    "negative ramp": (
        lambda: net2net.training.GrowthSchedule({3: {"sizes": 2.0}}, X, ramp=-1),
        ("ramp=-1", "number of steps"),
    ),
    "no plan": (lambda: net2net.replay("plan.safetensors", mlp(), X), ("the plan is 'plan.safetensors'",)),  # type: ignore
    "replayed number": (lambda: net2net.widen(mlp(), {"0": 12}, X).replay(3), ("3 (int)",)),  # type: ignore
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_kind_is_named(case: str) -> None:
    call, parts = WRONG[case]
    message = refused(net2net.OptionError, call, *parts)
    assert "\n" not in message and "report" not in message


def test_statistics_that_are_no_number_are_named_and_masks_of_infinities_are_none() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()
    model.register_buffer("mask", torch.full((3,), -torch.inf))
    assert net2net.widen(model, {"0": 12}, X).verification.passed
    model[1].running_mean[0] = torch.nan
    refused(net2net.OptionError, lambda: net2net.widen(model, {"0": 12}, X), "'1.running_mean'", "NaN")


@pytest.mark.parametrize("size", [10**9 * 64, 10**12, 10**30])
def test_what_cant_fit_is_refused_before_it_is_made(size: int) -> None:
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), {"0": size}, X), "'0' 8 ->", "GiB are free", _room.INSIST)
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), float(size), X), "GiB are free")
    refused(net2net.SizeError, lambda: net2net.deepen(mlp(), {"0": size}, X), "more of '0'", "GiB are free")


def test_a_user_may_insist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_room, "free_bytes", lambda device: 1000)
    refused(net2net.SizeError, lambda: net2net.widen(mlp(), {"0": 12}, X), "'0' 8 -> 12")
    monkeypatch.setenv(_room.INSIST, "1")
    assert net2net.widen(mlp(), {"0": 12}, X).verification.passed


def test_a_size_of_numpy_is_a_size() -> None:
    assert net2net.widen(copy.deepcopy(mlp()), {"0": np.int64(12)}, X).student[0].out_features == 12  # type: ignore


def test_weights_that_are_no_numbers_dont_pass() -> None:
    for value in (float("nan"), float("inf")):
        odd = holding(value)
        for teacher, student in ((odd, odd), (mlp(), odd), (odd, mlp())):
            found = net2net.verify(teacher, student, X)
            assert not found.passed and any("'2.weight' holds" in note for note in found.notes)
    assert net2net.verify(mlp(), mlp(), X).passed


@pytest.mark.parametrize("given", [X[:, :3], torch.ones(3, 4, dtype=torch.long)])
def test_inputs_that_dont_fit_are_said_to_be_so(given: torch.Tensor) -> None:
    message = refused(net2net.GrowthError, lambda: net2net.verify(mlp(), mlp(), given), "inputs given", "'0' (Linear)")
    assert "\n" not in message
