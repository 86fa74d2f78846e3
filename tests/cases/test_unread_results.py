"""What runs and isn't read: shapes that are asked of a slice, last layers of a stack, results that are dropped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import refused, trained

X = torch.randn(3, 2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
FLAT = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def the_same(teacher: nn.Module, student: nn.Module, *inputs: Tensor) -> None:
    """In both modes, on the inputs and on twice as many; and a step of training runs."""
    for mode in (False, True):
        for given in (inputs, tuple(torch.cat([t, 2 * t]) for t in inputs)):
            expected, found = teacher.train(mode)(*given), student.train(mode)(*given)
            assert ((expected - found).abs().max() / expected.abs().max()).item() <= 1e-10
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    student(*inputs).square().mean().backward()
    optimizer.step()
    assert torch.isfinite(student(*inputs)).all()


class Waves(nn.Module):
    """Dilated blocks with skips: nothing reads the stream after the last block, whose projection runs all the same."""

    def __init__(self, n: int = 6, blocks: int = 3) -> None:
        super().__init__()
        self.start, self.end = nn.Conv1d(2, n, 1), nn.Conv1d(5, 2, 1)
        self.conv = nn.ModuleList(nn.Conv1d(n, 7, 2) for _ in range(blocks))
        self.skip = nn.ModuleList(nn.Conv1d(7, 5, 1) for _ in range(blocks))
        self.back = nn.ModuleList(nn.Conv1d(7, n, 1) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x, total = self.start(x), torch.zeros(())
        for conv, skip, back in zip(self.conv, self.skip, self.back, strict=True):
            z = torch.tanh(conv(x))
            total = total + skip(z).mean(-1, keepdim=True)
            x = back(z) + x[..., -z.shape[-1] :]
        return self.end(total)


class Dropped(nn.Module):
    """A second result that the forward throws away."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        _ = torch.softmax(self.b(h) + 1, -1)
        return self.c(h)


class Memory(nn.Module):
    """A layer of attention gives back what it attended to, which nobody asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        (h * self.gain).sum(-1).add(1)
        return self.b(h)


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("size", [7, 11, 18])
def test_the_last_block_grows_with_the_stream(size: int) -> None:
    net = trained(Waves())
    growth = net2net.widen(net, {"start": size}, X)
    assert growth.student.back[2].out_channels == size and growth.student.back[2].weight.shape[0] == size
    assert not any("no example reads" in note for note in growth.plan.notes)
    the_same(net, growth.student, X)


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_a_factor_for_all_leaves_nothing_out() -> None:
    net = trained(Waves())
    growth = net2net.widen(net, 2.0, X)
    assert growth.plan.left_out == {}
    assert [conv.in_channels for conv in growth.student.conv] == [12, 12, 12]
    the_same(net, growth.student, X)


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("make", [Dropped, Memory])
@pytest.mark.parametrize("size", [9, 15, 24])
def test_what_reads_a_stream_for_nothing_grows_with_it(make: Callable[[], nn.Module], size: int) -> None:
    net = trained(make())
    growth = net2net.widen(net, {"a": size}, FLAT)
    assert growth.verification.dead == ()
    the_same(net, growth.student, FLAT)


class Times(nn.Module):
    """A time beside the state, in the shape of a slice of it, as in solvers of neural differential equations."""

    def __init__(self, column: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.column = column
        self.a, self.f, self.g, self.b = nn.Linear(4, 6), nn.Linear(7, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x)
        for step in range(2):
            y = y + self.g(torch.tanh(self.f(torch.cat([self.column(y) * step, y], 1))))
        return self.b(y)


COLUMNS = {
    "ones of a slice": lambda y: torch.ones_like(y[:, :1]),
    "full of the last": lambda y: torch.full_like(y[:, -1:], 0.5),
    "new of a slice": lambda y: y[:, 1:2].new_ones(len(y), 1),
    "zeros of a place": lambda y: torch.zeros_like(y[:, 0])[:, None] + 1,
}


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("size", [7, 11, 18])
def test_a_slice_that_gives_its_shape_fixes_nothing(name: str, size: int) -> None:
    net = trained(Times(COLUMNS[name]))
    growth = net2net.widen(net, {"a": size}, FLAT)
    assert growth.student.f.in_features == size + 1
    the_same(net, growth.student, FLAT)


class Parts(nn.Module):
    """A density beside features, as in radiance fields: two parts of one layer, of which one is a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(7, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return torch.cat([self.c(torch.relu(self.b(torch.tanh(h[:, 1:])))), torch.exp(h[:, :1])], -1)


@pytest.mark.parametrize("size", [9, 15, 16])
def test_the_part_that_can_grow_takes_the_growth(size: int) -> None:
    net = trained(Parts())
    growth = net2net.widen(net, {"a": size}, FLAT)
    assert growth.student.a.out_features == size and growth.student.b.in_features == size - 1
    the_same(net, growth.student, FLAT)


def test_what_lies_beside_a_slice_that_is_read_grows() -> None:
    net = trained(Times(lambda y: y[:, :1]))
    growth = net2net.widen(net, {"a": 7}, FLAT)
    assert growth.student.f.in_features == 8
    the_same(net, growth.student, FLAT)


def test_a_place_that_is_read_fixes_its_axis() -> None:
    net = Times(lambda y: y[:, 0][:, None]).double()
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net, {"a": 7}, FLAT), "picked by number")


class Shapes(nn.Module):
    """Operations that write to no entry, in the spelling of those that do."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.change(self.a(x))
        return self.c(torch.relu(self.b(torch.tanh(h))))


def later_readers(h: Tensor) -> Tensor:
    """The name means the new shape from here on."""
    h.t_()
    h.unsqueeze_(0)
    h.transpose_(1, 2)
    return h.squeeze_(0)


CHANGES = {
    "detach_": lambda h: h.detach_() + 0 * h,
    "unsqueeze_": lambda h: h.unsqueeze_(1).squeeze_(1),
    "transpose_": lambda h: h.transpose_(0, 1).t(),
    "all, by name": later_readers,
}


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize("name", CHANGES)
def test_shapes_in_place_are_no_writes(name: str, how: str | None) -> None:
    net = trained(Shapes(CHANGES[name]))
    growth = net2net.widen(net, {"a": 13, "b": 7}, FLAT, how=how)
    assert growth.verification.passed
    for given in (FLAT, FLAT[:2]):
        assert (net(given) - growth.student(given)).abs().max() <= 1e-10 * net(given).abs().max()


class Auxiliary(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 8), nn.Linear(8, 2), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        h = torch.relu(self.a(x))
        return (self.b(h), self.aux(h)) if self.training else self.b(h)


def test_inputs_and_outputs_are_called_as_the_user_calls_them() -> None:
    """Also where train mode is captured beside eval mode."""
    reasons = {n: d.reason for n, d in net2net.analyze(Auxiliary().double(), FLAT).dimensions.items()}
    assert reasons["b"] == "it reaches axis 1 of the output 'output'"
    assert reasons["aux"] == "it reaches axis 1 of the output 'train.1'"
    assert reasons["a.weight[1]"] == "it reaches the input 'x'"
