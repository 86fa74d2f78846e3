"""Numbers that modules keep change only where a draft of the student fails without it, module by module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.student import Fit, Setting, Verdict
from support import agree, drawn, repeatable, trained


class Forecast(nn.Module):
    """A learning rate, a patience and a window that equal its width, or a power of it."""

    def __init__(self, hidden: int = 100, window: int = 100) -> None:
        super().__init__()
        self.lr, self.weight_decay, self.window, self.patience = 0.01, 0.1, window, 10
        self.inner, self.middle, self.outer = nn.Linear(3, hidden), nn.Linear(hidden, 10), nn.Linear(10, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.middle(torch.relu(self.inner(x[:, -self.window :]))))
        return self.outer(x).mean(1)


def test_coincident_numbers_stay() -> None:
    teacher = trained(repeatable(Forecast)())
    growth = net2net.widen(teacher, 2.0, drawn(2, 30, 3))
    student: Any = growth.student
    assert (student.lr, student.weight_decay, student.window, student.patience) == (0.01, 0.1, 100, 10)
    assert student.inner.out_features == 200 and growth.plan.changed == {}
    agree(teacher, student, drawn(2, 300, 3))


def test_a_guess_by_equality_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old way, every number that equals a size that changes, turns the test above red."""
    guessed: list[Setting] = []

    def guess(self: Fit, start: tuple[Setting, ...]) -> tuple[tuple[Setting, ...], Verdict]:
        settings = tuple(Setting(n, n.options[0]) for n in self.numbers)
        guessed.extend(settings)
        return settings, self.judge(settings)

    monkeypatch.setattr("net2net.student.Fit.find", guess)
    with pytest.raises((AssertionError, net2net.GrowthError)):
        test_coincident_numbers_stay()
    assert {s.number.place for s in guessed} == {"window", "patience"}


class Recent(nn.Module):
    """One number is its width and how many steps it looks back, which may be more than there are."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.width, self.a, self.b = width, nn.Linear(3, width), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.a(x[:, -self.width :])).reshape(-1, self.width)
        return self.b(h)


def test_a_stretch_from_the_end_that_is_the_whole() -> None:
    teacher = trained(Recent())
    growth = net2net.widen(teacher, {"a": 13}, drawn(2, 5, 3))
    assert growth.plan.changed == {"width": (8, 13)}
    agree(teacher, growth.student, drawn(3, 7, 3))


class Square(nn.Module):
    """A layer with a weight of two axes that its forward reshapes by two numbers."""

    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.i, self.o = i, o
        self.weight = nn.Parameter(torch.randn(o, i) / i**0.5)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.weight.reshape(self.o, self.i).t())


@pytest.mark.parametrize("widths", [(3, 8, 9, 10, 2), (3, 8, 8, 8, 2), (8, 8, 8, 8, 8)])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_layers_of_one_class(widths: tuple[int, ...], which: int) -> None:
    make = repeatable(lambda: nn.Sequential(*(Square(a, b) for a, b in pairwise(widths))))
    teacher, x = trained(make()), drawn(5, widths[0])
    growth = net2net.widen(teacher, {str(which): 13}, x)
    found = [(layer.i, layer.o) for layer in growth.student]  # type: ignore[union-attr]
    wanted = [*widths]
    wanted[which + 1] = 13
    assert found == list(pairwise(wanted))
    assert growth.plan.changed == {
        f"{which}.o": (widths[which + 1], 13),
        f"{which + 1}.i": (widths[which + 1], 13),
    }
    agree(teacher, growth.student, drawn(7, widths[0]))


@dataclass(frozen=True)
class Sizes:
    width: int = 8
    heads: int = 2
    block: int = 8


class Attention(nn.Module):
    """Sizes in a dataclass; the positions in a block equal the width."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes, self.scale, self.dropout = sizes, (sizes.width // sizes.heads) ** -0.5, 0.125
        self.qkv, self.out = nn.Linear(sizes.width, 3 * sizes.width), nn.Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        b, t, _ = x.shape
        c, h = self.sizes.width, self.sizes.heads
        assert t <= self.sizes.block
        q, k, v = (y.view(b, t, h, c // h).transpose(1, 2) for y in self.qkv(x).split(c, 2))
        y = (q @ k.transpose(-1, -2) * self.scale).softmax(-1) @ v
        result: Tensor = x + self.out(y.transpose(1, 2).reshape(b, t, c))
        return result


class Blocks(nn.Module):
    def __init__(self, sizes: Sizes | None = None, depth: int = 3) -> None:
        super().__init__()
        sizes = sizes or Sizes()
        self.first, self.last = nn.Linear(3, sizes.width), nn.Linear(sizes.width, 2)
        self.blocks = nn.ModuleList(Attention(sizes) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        result: Tensor = self.last(x)
        return result


def test_sizes_in_a_dataclass(tmp_path: Path) -> None:
    teacher, x = trained(repeatable(Blocks)()), drawn(2, 5, 3)
    growth = net2net.widen(teacher, 2.0, x)
    student: Any = growth.student
    assert (student.blocks[0].sizes.width, student.blocks[0].sizes.block) == (16, 8)
    assert student.blocks[0].dropout == 0.125 and student.blocks[0].scale == 0.5
    assert teacher.blocks[0].sizes.width == 8  # type: ignore[index, union-attr]
    assert "blocks.0.sizes.width: 8 -> 16" in str(growth.plan)
    agree(teacher, student, drawn(3, 7, 3))
    growth.plan.save(tmp_path / "plan")
    loaded = net2net.Plan.load(tmp_path / "plan")
    assert loaded.changed == growth.plan.changed
    again = net2net.replay(loaded, teacher, x)
    assert again.plan.changed == growth.plan.changed
    agree(teacher, again.student, drawn(3, 7, 3))


class Words(nn.Module):
    """Sizes in a list and a dict, one of them unread and one a temperature."""

    def __init__(self) -> None:
        super().__init__()
        self.widths, self.options = [4, 16, 3], {"out": 16, "patience": 16, "temperature": 0.25, "momentum": 0.0625}
        self.a, self.b = nn.Linear(4, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x).view(-1, self.widths[1]) * self.options["temperature"]
        result: Tensor = self.b(torch.relu(y))
        return result


def test_lists_and_temperatures() -> None:
    teacher, x = trained(repeatable(Words)()), drawn(6, 4)
    growth = net2net.widen(teacher, {"a": 31}, x)
    student: Any = growth.student
    assert student.widths == [4, 31, 3] and student.options == teacher.options
    assert growth.plan.changed == {"widths[1]": (16, 31)}
    agree(teacher, student, drawn(9, 4))


class Normed(nn.Module):
    """A dropout and a momentum that are powers of the width."""

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(4, n), nn.BatchNorm1d(n, momentum=0.125), nn.Linear(n, 3)
        self.drop = nn.Dropout(0.125)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(self.drop(torch.relu(self.norm(self.a(x)))))
        return result


def test_momentum_and_dropout() -> None:
    teacher, x = trained(repeatable(Normed)()), drawn(6, 4)
    student: Any = net2net.widen(teacher, {"a": 15}, x).student
    assert student.norm.momentum == 0.125 and student.drop.p == 0.125
    a, b = teacher.eval()(x), student.eval()(x)
    assert ((a - b).abs().max() / a.abs().max()).item() <= 1e-10


@pytest.mark.parametrize("make", [lambda: nn.MultiheadAttention(8, 2, batch_first=True)])
def test_torchs_own_attention(make: Callable[[], nn.Module]) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.attention, self.b = nn.Linear(4, 8), make(), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            result: Tensor = self.b(x + self.attention(x, x, x, need_weights=False)[0])
            return result

    teacher, x = trained(repeatable(Net)()), drawn(2, 5, 4)
    student: Any = net2net.widen(teacher, 2.0, x).student
    attention = student.attention
    assert (attention.embed_dim, attention.kdim, attention.head_dim * attention.num_heads) == (16, 16, 16)
    agree(teacher, student, drawn(3, 6, 4))


class Guarded(nn.Module):
    """A norm whose eps has a twin: another number with the same value, before it."""

    def __init__(self, **numbers: float) -> None:
        super().__init__()
        for name, number in numbers.items():
            setattr(self, name, number)
        self.inner, self.gain, self.outer = nn.Linear(3, 8), nn.Parameter(torch.rand(8) + 0.5), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return self.outer(y * torch.rsqrt(y.square().mean(-1, keepdim=True) + self.variance_epsilon) * self.gain)


def test_the_eps_of_a_norm_is_found_by_its_name() -> None:
    teacher = Guarded(rate=1e-5, steps=1e-5, variance_epsilon=1e-5).double()
    student = net2net.widen(teacher, {"inner": 11}, drawn(4, 3).double()).student
    assert (student.rate, student.steps) == (1e-5, 1e-5) and student.variance_epsilon == pytest.approx(8e-5 / 11)
    agree(teacher, student, drawn(4, 3).double())


def test_one_of_two_numbers_that_may_be_the_eps_is_no_guess() -> None:
    teacher = Guarded(eps=1e-5, variance_epsilon=1e-5)
    with pytest.raises(net2net.SizeError, match=r"several such: \['eps', 'variance_epsilon'\]"):
        net2net.widen(teacher, {"inner": 11}, drawn(4, 3))
