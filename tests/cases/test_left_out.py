"""What a factor for all doesn't grow is in the plan and in its print, each with its own reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

import net2net

X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Through(nn.Module):
    """A layer, and an operation on its units."""

    def __init__(self, operation: str) -> None:
        super().__init__()
        self.operation, self.l = operation, nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        h = self.l(x)
        if self.operation == "no rule":
            return torch.linalg.matrix_exp(h[:, None] * h[:, :, None] / 100)[:, 0]
        if self.operation == "product":
            return torch.cumprod(h, -1)
        if self.operation == "order":
            return torch.sort(h, -1).values
        return h.softmax(-1)


def sequential(*inner: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 8), nn.ReLU(), *inner, nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 2)]
    return nn.Sequential(*layers).double()


def grown(net: nn.Module) -> net2net.Growth:
    growth = net2net.widen(net, 2.0, X)
    others = torch.randn(17, 3, dtype=torch.float64)
    expected = net(others)
    assert float((growth.student(others) - expected).abs().max()) <= 1e-10 * float(expected.abs().max())
    return growth


def printed(growth: net2net.Growth) -> list[str]:
    return [line for line in str(growth.plan).splitlines() if line.startswith("left out: ")]


@pytest.mark.parametrize(
    ("operation", "word"),
    [("no rule", "matrix_exp"), ("product", "cumprod"), ("order", "sort"), ("softmax", "softmax")],
)
@pytest.mark.parametrize("count", [1, 3])
def test_a_width_that_an_operation_fixes(operation: str, word: str, count: int) -> None:
    """In a Sequential, whose layers have numbers for names; layers that are alike are one line."""
    growth = grown(sequential(*(Through(operation) for _ in range(count))))
    widened = {w.dimension for w in growth.plan.widenings}
    analysis = net2net.analyze(growth.teacher, X)
    wide = {n for n, d in analysis.dimensions.items() if d.size in (8, 9)}
    assert wide - widened == growth.plan.left_out.keys() and growth.plan.left_out and widened
    assert all(word in reason for reason in growth.plan.left_out.values())
    lines = printed(growth)
    assert 1 <= len(lines) <= 2 and all(word in line and len(line) < 260 for line in lines)


def test_weight_norm_grows_or_is_named() -> None:
    growth = grown(sequential(weight_norm(nn.Linear(8, 8)), nn.ReLU()))
    assert len(growth.plan.widenings) + len(growth.plan.left_out) == 3


def test_spectral_norm_is_named() -> None:
    growth = grown(nn.Sequential(spectral_norm(nn.Linear(3, 8)), nn.ReLU(), nn.Linear(8, 9), nn.Linear(9, 2)).double())
    (name,) = growth.plan.left_out
    assert name.startswith("0.") and "_u" in growth.plan.left_out[name] and len(printed(growth)) == 1


def test_inputs_outputs_and_vocabularies_are_no_widths() -> None:
    net = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 4), nn.LogSoftmax(-1)).double()
    growth = net2net.widen(net, 2.0, torch.randint(0, 20, (3, 5)))
    assert not growth.plan.left_out and not printed(growth)
    lstm = net2net.widen(Last(), 2.0, torch.randn(2, 5, 3, dtype=torch.float64))
    assert not lstm.plan.left_out


class Last(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(3, 6, batch_first=True).double(), nn.Linear(6, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


def test_globs_say_what_they_leave_out_too() -> None:
    net = sequential(Through("product"))
    growth = net2net.widen(net, {"*": 2.0}, X)
    assert list(growth.plan.left_out) == ["2.l"]
    assert not net2net.widen(net, {"0": 16}, X).plan.left_out
