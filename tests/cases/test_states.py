"""Recurrent states that a module keeps: zeros are extended by zeros, in attributes, what those hold, and buffers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import drawn, refused, repeatable, trained


class Stream(nn.Module):
    """A recurrent layer that goes on from where it was."""

    def __init__(self, kind: str = "attribute", n: int = 6, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(n, 3)
        self.r = cell(8, n, batch_first=True)
        for name in ("h", "c"):
            state = torch.zeros(1, 1, n, dtype=torch.float64)
            if kind == "attribute":
                setattr(self, name, state)
            else:
                self.register_buffer(name, state, persistent=kind == "saved")

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.a(x))
        if isinstance(self.r, nn.LSTM):
            y, (self.h, self.c) = self.r(y, (self.h, self.c))
        else:
            y, self.h = self.r(y, self.h)
        result: Tensor = self.b(y)
        return result


@dataclass
class State:
    h: Tensor
    c: Tensor


HOLDERS: dict[str, Any] = {
    "tuple": (tuple, tuple),
    "list": (list, tuple),
    "dict": (lambda pair: dict(zip("hc", pair, strict=True)), lambda state: tuple(state.values())),
    "dataclass": (lambda pair: State(*pair), lambda state: (state.h, state.c)),
    "nested": (lambda pair: [{"layers": (pair,)}], lambda state: state[0]["layers"][0]),
}


class Held(nn.Module):
    """A recurrent layer whose states are together in one attribute."""

    def __init__(self, holder: str, n: int = 6) -> None:
        super().__init__()
        self.a, self.r, self.b = nn.Linear(4, 8), nn.LSTM(8, n, batch_first=True), nn.Linear(n, 3)
        self.holder, self.n = holder, n
        self.state = HOLDERS[holder][0](self.init_state())

    def init_state(self) -> tuple[Tensor, Tensor]:
        return torch.zeros(1, 1, self.n, dtype=torch.float64), torch.zeros(1, 1, self.n, dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        into, out = HOLDERS[self.holder]
        y, states = self.r(torch.relu(self.a(x)), out(self.state))
        self.state = into(states)
        result: Tensor = self.b(y)
        return result


@pytest.mark.parametrize("holder", HOLDERS)
@pytest.mark.parametrize("how", [None, "split"])
def test_states_in_containers(holder: str, how: str | None) -> None:
    teacher: Any = trained(repeatable(lambda: Held(holder))())
    student: Any = net2net.widen(teacher, {"r": 11}, drawn(1, 5, 4), how=how).student
    out = HOLDERS[holder][1]
    assert type(student.state) is type(teacher.state)
    assert [s.shape for s in out(student.state)] == [(1, 1, 11)] * 2 and not any(s.any() for s in out(student.state))
    assert [s.shape for s in out(teacher.state)] == [(1, 1, 6)] * 2
    agree(teacher, student)


def test_a_list_of_new_states() -> None:
    class Fresh(Held):
        def forward(self, x: Tensor) -> Tensor:
            result: Tensor = self.b(self.r(torch.relu(self.a(x)), list(self.init_state()))[0])
            return result

    teacher: Any = trained(repeatable(lambda: Fresh("list"))())
    growth = net2net.widen(teacher, 2.0, drawn(1, 5, 4))
    student: Any = growth.student
    assert student.n == 12 and growth.plan.changed["n"] == (6, 12)
    agree(teacher, student)


def test_one_of_two_in_a_tuple_went_on() -> None:
    teacher: Any = trained(repeatable(lambda: Held("tuple"))())
    teacher.state = (teacher.state[0], torch.ones(1, 1, 6, dtype=torch.float64))
    refused(net2net.FixedDimensionError, lambda: net2net.widen(teacher, {"r": 9}, drawn(1, 5, 4)), "'state[1]'")


KINDS = ["attribute", "saved", "unsaved"]


def agree(teacher: nn.Module, student: nn.Module) -> None:
    """Call after call, as the states go on."""
    with torch.no_grad():
        for k in range(3):
            x = drawn(1, 4 + k, 4)
            a, b = teacher(x), student(x)
            assert ((a - b).abs().max() / a.abs().max()).item() <= 1e-10


CELLS = [nn.LSTM, nn.GRU, nn.RNN]
# Every kind of state, in both ways; every other cell with some of these. The rest is for the sweep.
USUAL = [(nn.GRU, "attribute", None), (nn.GRU, "saved", "split"), (nn.RNN, "unsaved", None)]


@pytest.mark.parametrize(
    ("cell", "kind", "how"),
    [
        pytest.param(*case, marks=() if case[0] is nn.LSTM or case in USUAL else pytest.mark.sweep)
        for case in product(CELLS, KINDS, (None, "split"))
    ],
)
def test_widen(kind: str, cell: type[nn.RNNBase], how: str | None) -> None:
    teacher: Any = trained(repeatable(lambda: Stream(kind, cell=cell))())
    growth = net2net.widen(teacher, {"r": 11}, drawn(1, 5, 4), how=how)
    student: Any = growth.student
    assert student.h.shape == (1, 1, 11) and not student.h.any() and not teacher.h.any()
    if kind == "attribute":
        assert growth.plan.changed["h"] == ("[1, 1, 6]", "[1, 1, 11]")
    agree(teacher, student)


@pytest.mark.parametrize("kind", KINDS)
def test_transfer(kind: str) -> None:
    teacher, student = trained(repeatable(lambda: Stream(kind))()), Stream(kind, 9).double()
    agree(teacher, net2net.transfer(teacher, student, drawn(1, 5, 4)).student)


def test_replay(tmp_path: Path) -> None:
    teacher = trained(repeatable(Stream)())
    growth = net2net.widen(teacher, 2.0, drawn(1, 5, 4))
    growth.plan.save(tmp_path / "plan")
    plan = net2net.Plan.load(tmp_path / "plan")
    assert plan.changed == growth.plan.changed
    agree(teacher, net2net.replay(plan, teacher, drawn(1, 5, 4)).student)


def test_one_state_under_two_names() -> None:
    class Shared(Stream):
        def __init__(self) -> None:
            super().__init__()
            self.c = self.h

    teacher = trained(repeatable(Shared)())
    student: Any = net2net.widen(teacher, {"r": 7}, drawn(1, 5, 4)).student
    assert student.c is student.h
    agree(teacher, student)


def test_states_as_inputs() -> None:
    class Given(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.b = nn.GRU(4, 6, batch_first=True), nn.Linear(6, 3)

        def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
            result: Tensor = self.b(self.r(x, h)[0])
            return result

    teacher, x = trained(repeatable(Given)()), drawn(1, 5, 4)
    zeros = torch.zeros(1, 1, 6, dtype=torch.float64)
    refused(net2net.FixedDimensionError, lambda: net2net.widen(teacher, {"r": 9}, (x, zeros)), "leave the state out")
    student = net2net.widen(teacher, {"r": 9}, x).student
    assert ((teacher(x) - student(x)).abs().max() / teacher(x).abs().max()).item() <= 1e-10


def test_a_state_that_went_on_is_a_constant() -> None:
    teacher = trained(repeatable(Stream)())
    with torch.no_grad():
        teacher(drawn(1, 5, 4))
    refused(net2net.FixedDimensionError, lambda: net2net.widen(teacher, {"r": 9}, drawn(1, 5, 4)), "constant 'h'")
