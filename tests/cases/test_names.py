"""A key that is a module's path means that module's output width; other dimensions have names of their own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from net2net.axes import resolve
from support import from_zoo, refused, trained


class Lora(nn.Module):
    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base = base
        self.a = nn.Parameter(torch.randn(rank, base.in_features))
        self.b = nn.Parameter(torch.randn(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.t() @ self.b.t()


class Root(nn.Module):
    """Parameters of the network itself."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v, self.head = nn.Parameter(torch.randn(6, 4)), nn.Parameter(torch.randn(5, 6)), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(torch.relu(x @ self.u.t()) @ self.v.t()))


class Standardised(nn.Module):
    """A kernel that is computed from the weight of a module that isn't called."""

    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv1d(3, 8, 5), nn.Conv1d(8, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        w = self.c1.weight
        return self.c2(torch.relu(F.conv1d(x, w - w.mean((1, 2), keepdim=True), self.c1.bias)))


class Products(nn.Module):
    def __init__(self, i: int, o: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(o, i))

    def forward(self, x: Tensor) -> Tensor:
        return (x.unsqueeze(-2) * self.weight).sum(-1)


class Gated(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.both, self.down = nn.Linear(4, 2 * n), nn.Linear(n, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.both(x).chunk(2, -1)
        return self.down(a * torch.sigmoid(b))


class Tapped(nn.Module):
    """A body that gives back two things, the one with the results not last."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.side = Two(), nn.Linear(8, 2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, z = self.body(x)
        return self.head(y), self.side(z)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.relu(self.a(x))
        return y, torch.relu(self.b(y))


class Headed(nn.Module):
    """A module called like a part of an axis."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.attention, self.heads = nn.Linear(4, 8), nn.MultiheadAttention(8, 2, batch_first=True), None
        self.heads = nn.ModuleList(nn.Linear(8, n) for n in (2, 3))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.start(x)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return [head(x) for head in self.heads]


def lora() -> nn.Module:
    return nn.Sequential(Lora(nn.Linear(4, 8)), nn.GELU(), Lora(nn.Linear(8, 3)))


X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
MADE: list[tuple[Callable[[], nn.Module], Tensor]] = [
    (lora, X),
    (Root, X),
    (Standardised, torch.randn(2, 3, 11, dtype=torch.float64)),
    (lambda: nn.Sequential(Products(4, 6), nn.ReLU(), Products(6, 2)), X),
    (lambda: Gated(6), X),
    (Tapped, X),
    (Headed, torch.randn(2, 5, 4, dtype=torch.float64)),
]


def check_names(model: nn.Module, inputs: object) -> None:
    analysis = net2net.analyze(model, inputs)  # type: ignore[arg-type]
    paths = {path for path, _ in model.named_modules(remove_duplicate=False)}
    for name, atom in analysis.atoms.items():
        assert name.strip() and not name.startswith(" ")
        if name in paths:
            assert [resolve(t) for t in analysis.widths_of(name)] == [atom], name


@pytest.mark.parametrize(("make", "x"), MADE)
def test_no_name_is_the_path_of_something_else(make: Callable[[], nn.Module], x: Tensor) -> None:
    check_names(make().double(), x)


@pytest.mark.parametrize("name", ["mlp", "resnet_bottleneck", "lstm_tagger", "vit", "mobilenet_v2", "gpt"])
def test_no_name_is_the_path_of_something_else_in_the_zoo(name: str) -> None:
    check_names(*from_zoo(name))


def test_a_path_is_the_output_width() -> None:
    teacher = trained(lora())
    student = net2net.widen(teacher, {"0": 12}, X).student
    assert student[0].base.out_features == 12 and student[0].a.shape == (2, 4)
    assert (student(X) - teacher(X)).abs().max() <= 1e-10 * teacher(X).abs().max()
    student = net2net.widen(teacher, {"0.a[0]": 5}, X).student
    assert student[0].base.out_features == 8 and student[0].a.shape == (5, 4)


def test_parameters_of_the_network_itself() -> None:
    student = net2net.widen(trained(Root()), {"u[0]": 7, "v[0]": 11}, X).student
    assert student.u.shape == (7, 4) and student.v.shape == (11, 7)


def test_kernels_are_no_dimensions() -> None:
    x = MADE[2][1]
    for model in (Standardised(), nn.Conv1d(3, 8, 5)):
        analysis = net2net.analyze(model.double(), x)
        assert 5 not in [d.size for d in analysis.dimensions.values()]
    refused(net2net.UnknownNameError, lambda: net2net.widen(Standardised().double(), {"c1": 9}, x), "c1.weight[0]")
    assert net2net.widen(Standardised().double(), {"c1.weight[0]": 9}, x).student.c1.out_channels == 9


def test_inputs_have_no_path() -> None:
    net = nn.Sequential(Products(4, 6), nn.ReLU(), Products(6, 2)).double()
    analysis = net2net.analyze(net, X)
    assert analysis.dimensions["0"].size == 6 and analysis.dimensions["0.weight[1]"].growth == "fixed"
    assert net2net.widen(net, {"0": 7}, X).student[0].weight.shape == (7, 4)


def test_parts_of_an_output() -> None:
    """The two halves are one dimension of half the width; the path is the whole."""
    net = trained(Gated(6))
    student = net2net.widen(net, {"both": 18}, X).student
    assert student.both.out_features == 18 and student.down.in_features == 9
    assert net2net.widen(net, {"both #1": 7}, X).student.both.out_features == 14
    refused(net2net.SizeError, lambda: net2net.widen(net, {"both": 13}, X), "both #1", "multiple of 2")


def test_several_widths_are_refused() -> None:
    net = trained(Tapped())
    refused(net2net.UnknownNameError, lambda: net2net.widen(net, {"body": 12}, X), "2 widths", "body.a", "body.b")
    assert net2net.widen(net, {"body.a": 12}, X).student.body.a.out_features == 12


def test_a_second_name() -> None:
    """A module that stands at two places answers to both its paths, in width and in depth."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6))
            self.backbone, self.head = self.encoder, nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.backbone(x)))

    net = trained(Net())
    for path in ("encoder", "backbone"):
        student = net2net.widen(net, {path: 9, f"{path}.0": 11}, X).student
        assert student.head.in_features == 9 and student.backbone is student.encoder
        assert student.backbone[0].out_features == 11


def test_a_module_that_is_not_called() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.aux = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x)

    refused(net2net.UnknownNameError, lambda: net2net.widen(Net().double(), {"aux": 3}, X), "aux", "isn't called")
