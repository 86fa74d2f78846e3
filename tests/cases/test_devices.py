"""What a forward makes by itself, on a device of its own choice, meets a draft where it would meet the student."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import agree, drawn, refused, repeatable, trained


class StateMadeInside(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.hidden, self.rnn = hidden, nn.GRU(3, hidden, batch_first=True)
        self.inner, self.outer = nn.Linear(hidden, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor) -> Tensor:
        start = torch.zeros(1, x.shape[0], self.hidden, dtype=x.dtype)
        result: Tensor = self.outer(torch.relu(self.inner(self.rnn(x, start)[0])))
        return result


class MaskOnNamedDevice(nn.Module):
    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self.device, self.a, self.b, self.c = device, nn.Linear(4, 8), nn.Linear(8, 16), nn.Linear(16, 3)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x, n = self.a(x), x.shape[1]
        mask = ~torch.tril(torch.ones(n, n, dtype=torch.bool, device=self.device))
        x = x + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0]
        result: Tensor = self.c(torch.relu(self.b(x)))
        return result


class PlainTensor(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.scale = torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x))) * self.scale


class LazyState(nn.Module):
    """A state that the first forward makes, and a list of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.state: Tensor | None = None
        self.gains = [torch.full((3,), 0.5, dtype=torch.float64)]

    def forward(self, x: Tensor) -> Tensor:
        state = self.state if self.state is not None else torch.zeros(3, dtype=torch.float64)
        y = self.b(torch.relu(self.a(x))) * self.gains[0] + state
        return y + torch.arange(3) * (torch.ones(3) != 0)


class Residual(nn.Module):
    """Blocks around a position made on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 6)) for _ in range(3))
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.arange(6, dtype=torch.float64) / 7
        for block in self.blocks:
            x = x + block(x) * torch.tensor(0.5, dtype=torch.float64)
        result: Tensor = self.last(x)
        return result


@pytest.mark.parametrize(
    ("make", "sizes", "x"),
    [
        (StateMadeInside, {"inner": 12}, drawn(2, 5, 3)),
        (StateMadeInside, {"rnn": 11, "inner": 13}, drawn(2, 5, 3)),
        (MaskOnNamedDevice, {"b": 24}, drawn(2, 5, 4)),
        (PlainTensor, {"a": 13}, drawn(5, 4)),
        (LazyState, {"a": 13}, drawn(5, 4)),
    ],
)
def test_widen(make: Callable[[], nn.Module], sizes: dict[str, int], x: Tensor, capfd: pytest.CaptureFixture) -> None:
    teacher = trained(repeatable(make)())
    growth = net2net.widen(teacher, sizes, x)
    assert growth.verification.passed
    agree(teacher, growth.student, x * 1.5)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("make", "where", "x"),
    [
        (PlainTensor, {"a": 1}, drawn(5, 4)),
        (LazyState, {"a": 2}, drawn(5, 4)),
        (Residual, {"blocks": 2}, drawn(5, 6)),
        (MaskOnNamedDevice, {"b": 1}, drawn(2, 5, 4)),
    ],
)
def test_deepen(make: Callable[[], nn.Module], where: dict[str, int], x: Tensor, capfd: pytest.CaptureFixture) -> None:
    teacher = trained(repeatable(make)())
    growth = net2net.deepen(teacher, where, x)
    agree(teacher, growth.student, x * 1.5)
    assert capfd.readouterr().err == ""


def test_grow() -> None:
    teacher, x = trained(repeatable(PlainTensor)()), drawn(5, 4)
    growth = net2net.grow(teacher, x, sizes={"a": 11}, where={"a": 1})
    agree(teacher, growth.student, x)


def test_transfer() -> None:
    teacher, student, x = trained(repeatable(StateMadeInside)()), StateMadeInside(13).double(), drawn(2, 5, 3)
    net2net.transfer(teacher, student, x)
    agree(teacher, student, x)


def test_analysis_of_a_model_on_the_meta_device() -> None:
    with torch.device("meta"):
        model = StateMadeInside().double()
    assert "inner" in [d.name for d in net2net.analyze(model, drawn(2, 5, 3)).growable()]


class OtherDevice(nn.Module):
    """Its wider student makes a tensor on a device that isn't the model's: no matter of sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        if h.shape[1] != 8:
            h = h * torch.ones(h.shape[1], device="meta", dtype=x.dtype)
        result: Tensor = self.b(h)
        return result


def test_device_error_is_no_size() -> None:
    message = refused(
        net2net.CouplingError, lambda: net2net.widen(trained(OtherDevice()), {"a": 12}, drawn(5, 4)), "device"
    )
    assert "A size is computed" not in message and "written into" not in message
