"""What the proof runs: inputs in the range of the examples, and dozens of them where a forward chooses by them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net

SEEN: list[Tensor] = []  # what forwards were given, of copies too
Forward = Callable[[Tensor], Tensor]


class Noted(nn.Module):
    """A forward that refuses what `fits` says no to, and notes down the rest that it is given in eval mode."""

    def __init__(self, forward: Forward = torch.sin, fits: Callable[[Tensor], bool] = lambda x: True) -> None:
        super().__init__()
        self.does, self.fits = forward, fits
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> Tensor:
        if not self.fits(x):
            raise ValueError("outside of what this was made for")
        if not self.training:
            SEEN.append(x.detach().clone())
        return self.scale * self.does(x)


def compared(model: nn.Module, inputs: Tensor) -> tuple[net2net.Verification, int]:
    """A network against itself, and on how many inputs it was compared in eval mode."""
    SEEN.clear()
    found = net2net.verify(model, model, inputs)
    return found, len(SEEN) // 2


def test_random_inputs_lie_between_the_least_and_the_largest_of_each_column() -> None:
    low, high = torch.tensor([2.0, -7.0, 400.0]), torch.tensor([2.5, -6.0, 500.0])
    examples = torch.stack([low, high, (low + high) / 2])
    model = Noted(fits=lambda x: bool(((x >= low) & (x <= high)).all()))
    found, _ = compared(model, examples)
    assert found.passed
    assert "eval/random/output" in found.errors and "train/random/output" in found.errors, found
    assert len({tuple(x.flatten().tolist()) for x in SEEN}) > 1


def test_random_ids_are_among_those_given() -> None:
    ids = torch.tensor([[11, 13, 12], [17, 12, 11]])
    model = Noted(lambda x: x.double().sin(), lambda x: bool(((x >= 11) & (x <= 17)).all()))
    found, _ = compared(model, ids)
    assert found.passed and "eval/random/output" in found.errors


def _hidden(x: Tensor) -> Tensor:
    later = torch.ones(x.shape[-1], x.shape[-1], dtype=torch.bool).triu(1)
    scores = x[:, :, None] * x[:, None, :]
    return torch.where(later.logical_not(), scores.masked_fill(later, 0.0), 0.0).sum(-1)


def _kept(x: Tensor) -> Tensor:
    memory = torch.zeros(4, *x.shape, dtype=x.dtype)
    memory[1].copy_(x)
    return torch.where(memory.sum(0).sin() > 0.3, x, 2 * x)


CHOOSING: dict[str, Forward] = {
    "maximum": lambda x: x.max(-1).values,
    "top": lambda x: x.topk(2).values,
    "pool": lambda x: nn.functional.max_pool1d(x, 2),
    "where": lambda x: torch.where(x > 0, x, 2 * x),
    "mask": lambda x: x.masked_fill(x.long() == 0, 3.0),
    "comparison": lambda x: (x > 0.3) * x,
    "picked": lambda x: x[x > 0].sum(),
    "branch": lambda x: x.sin() if x.sum() > 0 else x.cos(),
    "through memory": _kept,
}
NOT_CHOOSING: dict[str, Forward] = {
    "smooth": torch.sin,
    "softmax": lambda x: x.softmax(-1),
    "causal mask": _hidden,
    "memory that was an input's": lambda x: _hidden((x * 1.0).exp() * 1.0),
}


@pytest.mark.parametrize("name", CHOOSING)
def test_a_forward_that_chooses_is_compared_on_many_inputs(name: str) -> None:
    found, count = compared(Noted(CHOOSING[name]), torch.randn(3, 6))
    assert found.passed and count >= 8, count


@pytest.mark.parametrize("name", NOT_CHOOSING)
def test_one_that_does_not_choose_by_its_inputs_on_one_of_each_kind(name: str) -> None:
    found, count = compared(Noted(NOT_CHOOSING[name]), torch.randn(3, 6))
    assert found.passed and count == 3, count


def test_a_branch_that_is_taken_seldom_is_compared() -> None:
    class Seldom(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, x: Tensor) -> Tensor:
            return torch.where(x.sum(-1, keepdim=True) > 5.0, self.factor * x, x)

    half, none = torch.full((4,), 0.99), torch.zeros(4)
    examples = torch.stack([torch.cat([half, none]), torch.cat([none, half])])  # far below the sum of the other branch
    assert not net2net.verify(Seldom(2.0), Seldom(3.0), examples).passed


def test_what_is_measured_does_not_depend_on_how_long_it_takes() -> None:
    """How many inputs are tried is counted by the work of a forward: a slow machine proves as much as a fast one."""

    def slow(x: Tensor) -> Tensor:
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
        return x.amax(-1)

    inputs = torch.randn(4, 3)
    _, quickly = compared(Noted(lambda x: x.amax(-1)), inputs)
    _, slowly = compared(Noted(slow), inputs)
    assert quickly == slowly > 40
