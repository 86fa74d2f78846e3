"""Stacks whose stream others read between the blocks, and students that the user built for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import refused, trained

X = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    def __init__(self, n: int = 6, inner: int = 9) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(n, inner), nn.Linear(inner, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(torch.relu(self.a(x)))


class Tapped(nn.Module):
    def __init__(self, depth: int = 4, taps: tuple[int, ...] = (1, 3), inner: int = 9) -> None:
        super().__init__()
        self.blocks, self.taps = nn.ModuleList(Block(inner=inner) for _ in range(depth)), taps
        self.heads = nn.ModuleList(nn.Linear(6, 2) for _ in taps)

    def forward(self, x: Tensor) -> list[Tensor]:
        found = []
        for k, block in enumerate(self.blocks):
            x = block(x)
            if k in self.taps:
                found.append(x)
        return [head(h) for head, h in zip(self.heads, found, strict=True)]


class Two(Tapped):
    """A free stack beside the one that is read between its blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.free = nn.ModuleList(Block() for _ in range(2))

    def forward(self, x: Tensor) -> list[Tensor]:
        for block in self.free:
            x = block(x)
        return super().forward(x)


class Skipping(nn.Module):
    """Every state goes to the other side, as in a U-Net."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = (nn.ModuleList(Block() for _ in range(3)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for block in self.down:
            x = block(x)
            kept.append(x)
        for block in self.up:
            x = block(x + kept.pop())
        return x


class Named(nn.Module):
    """Blocks with names are read between, and what is new goes in with the block that it follows."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = Block(), Block(), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        a = self.one(x)
        return self.head(torch.cat([a, self.two(a)], -1))


def errors(a: nn.Module, b: nn.Module, x: Tensor) -> float:
    pairs = zip(a(x), b(x), strict=True)
    return max(float((p - q).abs().max() / p.abs().max()) for p, q in pairs)


@pytest.mark.parametrize("make", [Tapped, Skipping])
@pytest.mark.parametrize("at", [0, 1])
def test_what_is_between_the_blocks_is_read_by_others(make: Callable[[], nn.Module], at: int) -> None:
    teacher = trained(make())
    name = "blocks" if make is Tapped else "down"
    place = net2net.analyze(teacher, X).places[name]
    assert place.growth == "copies" and f"'{name}." in place.reason and "transfer" in place.reason
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {name: [at]}, X), f"'{name}.", "is read by")


def test_a_factor_leaves_it_out() -> None:
    teacher = trained(Two())
    growth = net2net.deepen(teacher, "2x", X)
    assert (len(growth.student.free), len(growth.student.blocks)) == (4, 4)
    assert "is read by" in growth.plan.left_out["blocks"] and errors(teacher, growth.student, X + 1) <= 1e-10


def test_blocks_with_names_are_free() -> None:
    teacher = trained(Named())
    student = net2net.deepen(teacher, {"one": 2}, X).student
    assert len(student.one) == 3 and float((teacher(X + 1) - student(X + 1)).abs().max()) <= 1e-10


def test_other_readers_of_the_ends_are_no_obstacle() -> None:
    class Long(Tapped):
        def forward(self, x: Tensor) -> list[Tensor]:
            start = x
            for block in self.blocks:
                x = block(x)
            return [head(x + start) for head in self.heads]

    teacher = trained(Long())
    assert errors(teacher, net2net.deepen(teacher, {"blocks": [-1, 1, 3]}, X).student, X + 1) <= 1e-10


@pytest.mark.parametrize("inner", [9, 13])
@pytest.mark.parametrize(("depth", "taps"), [(6, (2, 5)), (6, (1, 5)), (6, (3, 5)), (5, (1, 4)), (7, (4, 6))], ids=str)
def test_the_given_student_says_what_is_read(inner: int, depth: int, taps: tuple[int, ...]) -> None:
    """Its own forward is the draft, also where it is wider."""
    teacher, student = trained(Tapped()), Tapped(depth, taps, inner).double()
    growth = net2net.transfer(teacher, student, X)
    assert growth.student is student and student.taps == taps
    assert errors(teacher, student, X + 1) <= 1e-10


def test_a_student_that_reads_other_states() -> None:
    """The advice doesn't lead in a circle."""
    student: Any = Tapped(6, (0, 5)).double()
    message = refused(net2net.StudentMismatchError, lambda: net2net.transfer(trained(Tapped()), student, X), "student")
    assert "transfer" not in message and "report" not in message


def test_a_student_whose_last_block_nothing_reads() -> None:
    """It computes the same; that the block learns nothing is told."""
    teacher, student = trained(Tapped()), Tapped(6, (1, 4)).double()
    with pytest.warns(net2net.Net2NetWarning, match="don't learn"):
        growth = net2net.transfer(teacher, student, X)
    assert errors(teacher, student, X + 1) <= 1e-10
    assert growth.verification.dead and all(".5." in name for name in growth.verification.dead)


def test_a_student_of_another_class() -> None:
    """The teacher names its blocks one by one; the user's deeper class does too."""

    class Three(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[2](self.blocks[1](self.blocks[0](x)))

    class Four(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks = nn.ModuleList(Block() for _ in range(4))

        def forward(self, x: Tensor) -> Tensor:
            return self.blocks[3](self.blocks[2](self.blocks[1](self.blocks[0](x))))

    teacher, student = trained(Three()), Four().double()
    refused(net2net.CouplingError, lambda: net2net.deepen(teacher, {"blocks": 1}, X), "transfer")
    assert net2net.transfer(teacher, student, X).verification.passed
    assert float((teacher(X + 1) - student(X + 1)).abs().max()) <= 1e-10


class Penalised(nn.Module):
    """Adds what every layer gives to its result, in training only."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers, self.head, self.rate = nn.ModuleList(layers), nn.Linear(6, 2), 0.1

    def forward(self, x: Tensor) -> Tensor:
        penalty = torch.zeros((), dtype=x.dtype)
        for layer in self.layers:
            x = layer(x)
            penalty = penalty + x.pow(2).mean()
        return self.head(x) + self.rate * penalty if self.training else self.head(x)


def test_a_penalty_on_each_block_in_training() -> None:
    teacher: Any = trained(Penalised([Block() for _ in range(3)]))
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"layers": 1}, X), "train mode only")
    teacher.rate = 0.0
    student: Any = net2net.deepen(teacher, {"layers": 1}, X).student
    assert len(student.layers) == 4


def test_a_penalty_on_each_mirrored_layer_in_training() -> None:
    layers = [layer for _ in range(2) for layer in (nn.Linear(6, 6), nn.LeakyReLU(0.1))]
    teacher: Any = trained(Penalised([*layers]))
    teacher.layers = nn.Sequential(*layers)
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"layers.0": 1}, X), "train mode only")
    teacher.rate = 0.0
    student: Any = net2net.deepen(teacher, {"layers.0": 1}, X).student
    assert len(student.layers) > 4


def test_what_no_example_reads_is_noted() -> None:
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.blocks, self.spare = nn.ModuleList(Block() for _ in range(2)), nn.Linear(6, 3)
            self.extra = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            for block in self.blocks:
                x = block(x)
            return self.extra(x) if self.training else x

    teacher = trained(Apart())
    with pytest.warns(net2net.Net2NetWarning, match="no example reads 'spare'"):
        plan = net2net.deepen(teacher, {"blocks": 1}, X).plan
    (note,) = [note for note in plan.notes if "no example reads" in note]
    assert "'spare'" in note and "'extra'" not in note


def test_a_factor_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    """Some of the drafts that are tried on the way fail."""
    for make in (Two, Named):
        net2net.deepen(trained(make()), "2x", X)
    assert capfd.readouterr() == ("", "")
