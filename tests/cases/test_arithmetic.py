"""Numbers that a forward computes from a size: the weights before or after make up for them, or they are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.sites import _absorb
from support import agree, drawn, refused, repeatable, trained


class Mean(nn.Module):
    """A mean over the units, written as a sum over a size."""

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, n), nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        result: Tensor = self.b(h.sum(1, keepdim=True) / h.shape[1])
        return result


class Net(nn.Module):
    """Something computed of hidden units."""

    def __init__(self, compute: Callable[[Tensor], Tensor], n: int = 8, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.a, self.b, self.compute, self.act = nn.Linear(4, n), nn.Linear(n, 2), compute, activation or nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(self.compute(self.act(self.a(x))))
        return result


@pytest.mark.parametrize(("size", "how"), [(13, None), (16, "split"), (15, None), (9, None)])
def test_a_mean_as_a_sum(size: int, how: str | None) -> None:
    teacher = trained(repeatable(Mean)())
    growth = net2net.widen(teacher, {"a": size}, drawn(6, 4), how=how)
    agree(teacher, growth.student, drawn(50, 4))


MADE_UP: dict[str, Callable[[Tensor], Tensor]] = {
    "div": lambda h: h / h.shape[1],
    "mul": lambda h: h * h.shape[1],
    "times": lambda h: h.shape[1] * h,
    "div_": lambda h: h.clone().div_(h.shape[1]),
    "root": lambda h: h / h.shape[1] ** 0.5,
    "numel": lambda h: h / h[0].numel(),
    "full": lambda h: h * torch.full((1,), h.shape[1], dtype=h.dtype),
    "tensor": lambda h: h / torch.tensor(h.shape[1]),
    "divided": lambda h: h.shape[1] / (h.abs() + 1),  # no weight before it, but those after it
    "squares": lambda h: h * (h.square() / h.shape[1]),
}


@pytest.mark.parametrize("name", MADE_UP)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()])
def test_made_up_for(name: str, activation: nn.Module) -> None:
    teacher = trained(repeatable(lambda: Net(MADE_UP[name], activation=activation))())
    agree(teacher, net2net.widen(teacher, {"a": 13}, drawn(6, 4)).student, drawn(50, 4))


REFUSED: dict[str, Callable[[Tensor], Tensor]] = {
    "add": lambda h: h + h.shape[1],
    "sub": lambda h: h - h.shape[1],
    "rsub": lambda h: h.shape[1] - h,
    "pow": lambda h: (h / 4) ** h.shape[1],
    "floor": lambda h: h // h.shape[1],
    "compare": lambda h: h * (h > h.shape[1]),  # no example comes near it
    "clamp": lambda h: h.clamp(max=h.shape[1]),
    "alpha": lambda h: torch.add(h, h, alpha=h.shape[1]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    teacher = trained(repeatable(lambda: Net(REFUSED[name]))())
    message = refused(net2net.CouplingError, lambda: net2net.widen(teacher, {"a": 13}, drawn(6, 4)), "number 8", "13")
    assert "report" not in message and "attribute" in message


def test_nothing_takes_the_factor() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 8)

        def forward(self, x: Tensor) -> Tensor:
            h = torch.tanh(self.a(x))
            return h.sum(1) / h.shape[1]

    teacher = trained(repeatable(Last)())
    refused(net2net.CouplingError, lambda: net2net.widen(teacher, {"a": 13}, drawn(6, 4)), "before it", "after it")


def test_a_number_kept_as_an_attribute_stays() -> None:
    """What the message advises."""

    class Kept(Mean):
        def __init__(self) -> None:
            super().__init__()
            self.n = 8

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.a(x))
            result: Tensor = self.b(h.sum(1, keepdim=True) + self.n)
            return result

    teacher = trained(repeatable(Kept)())
    growth = net2net.widen(teacher, {"a": 13}, drawn(6, 4))
    assert growth.plan.changed == {}
    agree(teacher, growth.student, drawn(50, 4))


class Shared(nn.Module):
    """A layer that runs twice, and meets its number twice."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(2):
            h = torch.relu(self.a(x))
            x = x + self.b(h / h.shape[1])
        return x


def test_a_layer_that_runs_twice() -> None:
    teacher = trained(repeatable(Shared)())
    agree(teacher, net2net.widen(teacher, {"a": 13}, drawn(6, 4)).student, drawn(50, 4))


def test_several_examples() -> None:
    teacher = trained(repeatable(lambda: Net(MADE_UP["div"]))())
    agree(teacher, net2net.widen(teacher, {"a": 13}, [drawn(6, 4), drawn(3, 4)]).student, drawn(50, 4))


def test_transfer() -> None:
    teacher, student = trained(repeatable(Mean)()), Mean(13).double()
    agree(teacher, net2net.transfer(teacher, student, drawn(6, 4)).student, drawn(50, 4))


def test_weights_after_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the way on, the tests above are refused."""

    def none(*_: object) -> None:
        raise _absorb.NotPossible("off")

    monkeypatch.setattr("net2net.width._compensate.absorbed", none)
    with pytest.raises(net2net.CouplingError):
        test_made_up_for("div", nn.Tanh())
