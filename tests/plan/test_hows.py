"""Ways to make units are registered: the library's own, and a user's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import net2net
from net2net import UnitMap, UnitRequest
from net2net.width import even_shares, hows
from net2net.width._units import _HOWS
from support import X, mlp


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    known = dict(_HOWS)
    yield
    _HOWS.clear()
    _HOWS.update(known)


def strongest(request: UnitRequest) -> UnitMap:
    """Copies of the last unit only."""
    extra = np.full(request.after - request.before, request.before - 1)
    source = np.concatenate([np.arange(request.before), extra])
    return UnitMap(source, even_shares(source))


def test_a_users_way_is_exact_and_replays(tmp_path: object) -> None:
    net2net.register_how("strongest", copies=True)(strongest)
    teacher = mlp()
    growth = net2net.widen(teacher, {"0": 13}, X, how="strongest")
    with torch.no_grad():
        a, b = teacher(X), growth.student(X)
    assert float((a - b).abs().max() / a.abs().max()) <= 1e-10
    (widening,) = growth.plan.widenings
    assert widening.how == "strongest" and widening.preserves == "exact"
    assert set(widening.units.source[widening.before :]) == {widening.before - 1}
    growth.plan.save(f"{tmp_path}/plan.safetensors")
    again = net2net.replay(net2net.Plan.load(f"{tmp_path}/plan.safetensors"), teacher, X)
    assert all(torch.equal(p, q) for p, q in zip(again.student.parameters(), growth.student.parameters(), strict=True))


def test_wrong_shares_of_a_users_way_are_caught() -> None:
    net2net.register_how("twice", copies=True)(lambda r: UnitMap(strongest(r).source, np.ones(r.after)))
    with pytest.raises(net2net.VerificationError, match="relative error"):
        net2net.widen(mlp(), {"0": 13}, X, how="twice")


def test_a_way_that_promises_nothing_is_measured() -> None:
    net2net.register_how("loud", zeros=None, fill="random", preserves="none")(
        lambda r: UnitMap(np.concatenate([np.arange(r.before), np.full(r.after - r.before, -1)]))
    )
    growth = net2net.widen(mlp(), {"0": 13}, X, how="loud")
    assert growth.plan.preserves == "none" and growth.verification.max_relative_error > 1e-3


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_zeros_on_the_way_in_are_a_way_too() -> None:
    growth = net2net.widen(mlp(), {"0": 13}, X, how="zero_in")
    assert growth.plan.widenings[0].how == "zero_in" and growth.verification.passed
    assert not growth.student[0].weight[-1].any() and growth.student[2].weight[:, -1].all()


def test_the_librarys_own_names_are_taken() -> None:
    net2net.register_how("strongest", copies=True)(strongest)
    net2net.register_how("strongest", copies=True)(strongest)  # a cell of a notebook that runs twice
    assert hows()[0] == "split" and hows().count("strongest") == 1
    with pytest.raises(net2net.OptionError, match="the library's own"):
        net2net.register_how("split")
    with pytest.raises(net2net.OptionError, match="zero_in"):
        net2net.widen(mlp(), {"0": 13}, X, how="unknown")
