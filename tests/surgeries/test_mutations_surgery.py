"""Known mistakes, made on purpose: the proof of a surgery has to see each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import net2net
from net2net import Features as F
from net2net.plan import FRESH, AxisMap
from net2net.proof import Port
from net2net.surgeries import _design, _plan
from policies import Normalised, Recurrent, Tokens, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


def recurrent() -> net2net.Growth:
    features = {"obs": F(["a", "b", "c"], ["c", "new", "a", "b"])}
    return net2net.surgery(made(Recurrent()), (drawn(2, 6, 3),), features=features, outputs={"logits": F(2, 3)})


def without_b() -> net2net.Growth:
    x = drawn(5, 3)
    x[:, 1] = 0.7
    return net2net.surgery(
        made(Normalised()), x, features={"obs": F(["a", "b", "c"], ["c", "n", "a"], constants={"b": 0.7})}
    )


def tokens() -> net2net.Growth:
    names, order = list("abcdefg"), list("bacdefgn")
    ids = torch.arange(7)[None]
    return net2net.surgery(made(Tokens()), ids, features={"ids": F(names, order)}, outputs={"logits": F(names, order)})


def filled(change: Callable[[AxisMap], AxisMap]) -> tuple[Any, str, Any]:
    before = _plan._leaf
    return _plan, "_leaf", lambda *arguments: change(before(*arguments))


def loud(axis: AxisMap) -> AxisMap:
    """New places that are read with random weights."""
    if axis.fresh is None or not axis.contracted:
        return axis
    return replace(axis, fresh=np.where(axis.fresh > 0, FRESH.index("random"), 0).astype(np.uint8))


def in_line(axis: AxisMap) -> AxisMap:
    """Old places in their old order, whatever was asked for."""
    source = axis.source.copy()
    source[source >= 0] = np.sort(source[source >= 0])
    return replace(axis, source=source)


def no_shifts(*_: Any) -> Iterator[Any]:
    return iter(())


MISTAKES = {
    "new features are read": (recurrent, filled(loud)),
    "old features stay in line": (recurrent, filled(in_line)),
    "constants are forgotten": (without_b, (_plan, "shifts", no_shifts)),
    "old statistics stay in line": (without_b, filled(in_line)),
    "tokens stay in line": (tokens, filled(in_line)),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_proof_sees(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    surgery, patch = MISTAKES[mistake]
    assert surgery().verification.passed
    monkeypatch.setattr(*patch)
    with pytest.raises(net2net.VerificationError, match="doesn't compute the teacher's function"):
        surgery()


def test_the_proof_gives_new_features_numbers_that_are_not_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*filled(loud))
    before = Port.of_student

    def zeros(self: Port, tensor: torch.Tensor) -> torch.Tensor:
        result = before(self, tensor)
        return (
            result
            if self.axis is None
            else result.index_fill(self.axis, torch.from_numpy(self.source < 0).nonzero()[:, 0], 0)
        )

    monkeypatch.setattr(Port, "of_student", zeros)
    with pytest.warns(net2net.Net2NetWarning, match="no gradient reaches the new entries"):  # nor would they learn
        assert recurrent().verification.passed  # zeros would hide the mistake above


def test_a_live_feature_that_is_let_through_is_seen_in_the_student(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_design, "require_constants", lambda *_: None)
    teacher, x = made(nn.Sequential(nn.Linear(3, 4), nn.Tanh())), drawn(5, 3)
    student = net2net.surgery(teacher, x, features={0: F(["a", "b", "c"], ["a", "c"], constants={"b": 0.7})}).student
    assert (teacher(x) - student(x[:, [0, 2]])).abs().max() > 1e-3
