"""What operations do to the axes that they use up, pass and pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from support import drawn, refused, trained


class Between(nn.Module):
    """Some layers, and what happens between them."""

    def __init__(self, function: Callable[..., Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(self, *inputs)


def error(teacher: nn.Module, student: nn.Module, *inputs: Any) -> float:
    """The largest difference relative to the largest output, over eval and train mode."""
    worst = 0.0
    for mode in (False, True):
        with torch.no_grad():
            ours, theirs = teacher.train(mode)(*inputs), student.train(mode)(*inputs)
        worst = max(worst, float((ours - theirs).abs().max() / ours.abs().max()))
    teacher.eval(), student.eval()
    return worst


def grows(net: nn.Module, sizes: Any, inputs: Any, others: Any, how: str | None = None) -> net2net.Growth:
    growth = net2net.widen(net, sizes, inputs, how=how)
    assert error(net, growth.student, *others) <= 1e-10
    return growth


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("pool", [nn.AdaptiveMaxPool1d(1), nn.AdaptiveAvgPool1d(1)], ids=str)
def test_a_pool_over_all_features_reduces_them(pool: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    net = Between(
        lambda m, x: m.out(m.pool(m.score(x).unsqueeze(1)).squeeze(1)),
        score=nn.Linear(3, 6), pool=pool, out=nn.Linear(1, 2),
    ).double()  # fmt: skip
    growth = grows(net, {"score": 8}, drawn(1, 3), (drawn(2000, 3, seed=2),))
    assert growth.plan.widenings[0].how == ("split" if isinstance(pool, nn.AdaptiveMaxPool1d) else "zero_out")


CONSUMING = {
    "max_pool": lambda h: F.max_pool1d(h, 2),
    "avg_pool": lambda h: F.avg_pool1d(h, 3, 1, 1),
    "adaptive": lambda h: F.adaptive_max_pool1d(h, 3),
    "interpolate": lambda h: F.interpolate(h, 9),
    "linear": lambda h: F.interpolate(h, 9, mode="linear"),
    "convolution": lambda h: F.conv1d(h, torch.ones(1, 1, 3, dtype=h.dtype)),
    "unfold": lambda h: F.unfold(h.unsqueeze(1), (1, 3)),
    "grid": lambda h: F.grid_sample(h.unsqueeze(1), h.new_zeros(len(h), 2, 2, 2), align_corners=False),
}


@pytest.mark.parametrize("name", CONSUMING)
def test_features_used_as_positions_are_fixed(name: str) -> None:
    function = CONSUMING[name]
    net = trained(
        Between(
            lambda m, x: m.out(function(m.score(x).unsqueeze(1)).flatten(1).mean(1, keepdim=True)),
            score=nn.Linear(3, 8), out=nn.Linear(1, 2),
        )
    )  # fmt: skip
    dimension = net2net.analyze(net, drawn(2, 3)).dimensions["score"]
    assert dimension.growth == "fixed" and "aten." in dimension.reason
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net, {"score": 12}, drawn(2, 3)), "aten.")


def unpooled(m: Any, x: Tensor) -> Tensor:
    h, places = F.max_pool2d(m.a(x).relu(), 2, return_indices=True)
    return m.d(F.max_unpool2d(m.c(m.b(h).relu()).relu(), places, 2))


@pytest.mark.parametrize("sizes, how", [({"a": 12}, None), (2.0, "split"), ({"a": 9}, "split"), (2.0, None)])
def test_unpooling_pairs_its_operands(sizes: Any, how: str | None) -> None:
    net = trained(
        Between(unpooled, a=nn.Conv2d(3, 8, 3, padding=1), b=nn.Conv2d(8, 6, 1), c=nn.Conv2d(6, 8, 1),
                d=nn.Conv2d(8, 2, 1))
    )  # fmt: skip
    grows(net, sizes, drawn(2, 3, 8, 8), (drawn(3, 3, 8, 8, seed=2),), how)


def pooled_in_depth(kernel: tuple[int, ...], stride: tuple[int, ...], channels: int) -> nn.Module:
    return trained(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool3d(kernel, stride), nn.Conv2d(channels, 6, 1), nn.ReLU(),
                      nn.Conv2d(6, 2, 1))
    )  # fmt: skip


def test_a_window_over_channels_fixes_them_on_both_sides() -> None:
    dimension = net2net.analyze(pooled_in_depth((1, 3, 3), (2, 1, 1), 4), drawn(2, 3, 9, 9)).dimensions["0"]
    assert dimension.growth == "fixed" and "max_pool3d" in dimension.reason


@pytest.mark.parametrize("size", [9, 15, 24])
def test_a_window_of_one_channel_passes(size: int) -> None:
    net = pooled_in_depth((1, 3, 3), (1, 1, 1), 8)
    grows(net, {"0": size}, drawn(2, 3, 9, 9), (drawn(3, 3, 9, 9, seed=2),))


class Step(nn.Module):
    """One step of messages along edges."""

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        self.message, self.update = nn.Linear(2 * width, 10), nn.Linear(width + 10, width)
        self.kind = kind

    def forward(self, x: Tensor, source: Tensor, target: Tensor) -> Tensor:
        sent = torch.relu(self.message(torch.cat([x[source], x[target]], -1)))
        canvas, numbers = x.new_zeros(len(x), sent.shape[-1]), target[:, None].expand_as(sent)
        if self.kind == "index_add":
            got = canvas.index_add(0, target, sent)
        elif self.kind == "index_add_":
            got = canvas.index_add_(0, target, sent)
        elif self.kind == "scatter_add":
            got = canvas.scatter_add(0, numbers, sent)
        elif self.kind == "index_put":
            got = canvas.index_put((target,), sent, accumulate=True)
        elif self.kind == "index_copy":
            got = canvas.index_copy(0, target, sent)
        else:
            got = canvas.scatter_reduce(0, numbers, sent, self.kind)
        return x + self.update(torch.cat([x, got], -1))


KINDS = ["index_add", "index_add_", "scatter_add", "index_put", "index_copy", "sum", "mean", "amax"]


@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize("kind", KINDS)
def test_features_pass_where_rows_are_written(kind: str, how: str | None) -> None:
    edges = torch.tensor([0, 1, 2, 3, 4, 5]), torch.tensor([3, 0, 5, 1, 2, 4])
    for size in (11, 19):
        grows(trained(Step(8, kind)), {"message": size}, (drawn(6, 8), *edges), (drawn(6, 8, seed=2), *edges), how)


@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize(
    "power",
    [lambda h: h.pow(2), lambda h: h**3, lambda h: torch.where(h > 0, h, 0.0), lambda h: h.clone().relu_().pow_(2),
     lambda h: h.masked_fill(h < 0, 0.0), lambda h: torch.where(h > 0, h, 2 * h)],
)  # fmt: skip
def test_zero_stays_zero(power: Callable[[Tensor], Tensor], how: str | None) -> None:
    net = trained(
        Between(lambda m, x: m.c(m.norm(m.b(power(m.a(x))))), a=nn.Linear(4, 8), b=nn.Linear(8, 6),
                norm=nn.LayerNorm(6), c=nn.Linear(6, 2))
    )  # fmt: skip
    grows(net, {"a": 11}, drawn(3, 4), (drawn(9, 4, seed=2),), how)


class Product(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.m, self.b = nn.Linear(4, 8), nn.Parameter(torch.randn(8, 10)), nn.Linear(10, 2)
        self.shift = nn.Parameter(torch.randn(10))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        products = {
            "tensordot": lambda: torch.tensordot(h, self.m, dims=[[-1], [0]]),
            "tensordot first": lambda: torch.tensordot(self.m, h, dims=[[0], [1]]).t(),
            "inner": lambda: torch.inner(h, self.m.t()),
            "addmm": lambda: torch.addmm(self.shift, h, self.m),
            "addmv": lambda: torch.stack([torch.addmv(self.shift, self.m.t(), row) for row in h.unbind()]),
            "multi_dot": lambda: torch.linalg.multi_dot([h, self.m]),
            "baddbmm": lambda: torch.baddbmm(self.shift, h[None], self.m[None])[0],
            "addbmm": lambda: torch.addbmm(self.shift, h[None], self.m[None]),
        }
        return self.b(torch.relu(products[self.kind]()))


@pytest.mark.filterwarnings("ignore:no example reads")
@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize(
    "kind", ["tensordot", "tensordot first", "inner", "addmm", "addmv", "multi_dot", "baddbmm", "addbmm"]
)
def test_every_sum_of_products_grows(kind: str, how: str | None) -> None:
    torch.manual_seed(0)
    net = trained(Product(kind))
    grows(net, {"a": 13}, drawn(3, 4), (drawn(3, 4, seed=2),), how)


@pytest.mark.parametrize("size", [11, 15, 24])
def test_weight_norm_passes_new_inputs_that_are_zero(size: int) -> None:
    norm = nn.utils.parametrizations.weight_norm
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), norm(nn.Linear(8, 7)), nn.ReLU(), norm(nn.Linear(7, 3))
    ).double()  # fmt: skip
    grows(net, {"0": size}, drawn(5, 4), (drawn(9, 4, seed=2),))
    grows(net, {"2": size}, drawn(5, 4), (drawn(9, 4, seed=2),))


@pytest.mark.parametrize("how", [None, "split"])
def test_a_slope_of_every_channel(how: str | None) -> None:
    net = trained(nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 2)))
    grows(net, {"0": 11}, drawn(3, 4), (drawn(9, 4, seed=2),), how)


class Spectral(nn.Module):
    """Filters of frequencies in space, channel by channel."""

    def __init__(self, n: int = 6) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, n, 1), nn.Conv2d(n, 2, 1)
        self.gain = nn.Parameter(torch.rand(n, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        h = torch.fft.rfft2(self.a(x)) * self.gain
        return self.b(torch.fft.irfft2(h, s=x.shape[-2:]))


@pytest.mark.parametrize("how", [None, "split"])
def test_channels_pass_a_fourier_transform_in_space(how: str | None, recwarn: pytest.WarningsRecorder) -> None:
    grows(trained(Spectral()), {"a": 11}, drawn(3, 2, 4, 6), (drawn(3, 2, 4, 6, seed=2),), how)
    assert not any("imaginary" in str(w.message) for w in recwarn)  # both parts count in the size of what comes out


def test_a_maximum_whose_positions_nobody_reads() -> None:
    net = trained(Between(lambda m, x: m.b(m.a(x).max(1, keepdim=True)[0]), a=nn.Linear(4, 6), b=nn.Linear(1, 2)))
    grows(net, {"a": 11}, drawn(3, 4), (drawn(50, 4, seed=2),))
    net = trained(Between(lambda m, x: m.b(m.a(x).max(1)[1][:, None] + 0.5), a=nn.Linear(4, 6), b=nn.Linear(1, 2)))
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net, {"a": 11}, drawn(3, 4)), "positions")


class FrozenNorm(nn.Module):
    """A norm that training left behind as constants."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.register_buffer("gain", torch.rand(n) + 0.5)
        self.register_buffer("shift", torch.rand(n))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain[:, None, None] + self.shift[:, None, None]


@pytest.mark.parametrize("how", [None, "split"])
@pytest.mark.parametrize("size", [9, 16, 23])
def test_copies_of_a_unit_copy_its_constants(size: int, how: str | None) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), FrozenNorm(8), nn.ReLU(), nn.Conv2d(8, 4, 3)).double()
    growth = grows(net, {"0": size}, drawn(2, 3, 6, 6), (drawn(3, 3, 6, 6, seed=2),), how)
    assert growth.plan.widenings[0].how == "split"
    source = growth.plan.widenings[0].units.source
    assert torch.equal(growth.student[1].gain, net[1].gain[torch.from_numpy(source)])
    refused(net2net.GrowthError, lambda: net2net.widen(net, {"0": size}, drawn(2, 3, 6, 6), how="zero_out"), "gain")


def test_a_sum_over_constants_leaves_them_alone() -> None:
    class Frozen(nn.Module):
        def __init__(self, n: int = 6) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, n), nn.Linear(3, 2)
            self.register_buffer("fixed", torch.randn(n, 3))

        def forward(self, x: Tensor) -> Tensor:
            return self.b((self.a(x) @ self.fixed).tanh())

    net, x = trained(Frozen()), drawn(3, 4)
    growth = grows(net, {"a": 11}, x, (drawn(9, 4, seed=2),))
    assert {tuple(row) for row in growth.student.fixed.tolist()} == {tuple(row) for row in net.fixed.tolist()}


UNPOOLED: dict[str, tuple[Callable[..., Any], Callable[..., Tensor], Callable[..., nn.Module], tuple[int, ...]]] = {
    "1d": (F.max_pool1d, F.max_unpool1d, nn.Conv1d, (2, 3, 8)),
    "3d": (F.max_pool3d, F.max_unpool3d, nn.Conv3d, (2, 3, 4, 4, 4)),
}


@pytest.mark.parametrize("kind", UNPOOLED)
def test_unpooling_along_other_axes(kind: str) -> None:
    """The channels that are pooled are those that are put back, through layers between that have others."""
    pool, unpool, conv, shape = UNPOOLED[kind]

    def between(m: Any, x: Tensor) -> Tensor:
        h, places = pool(m.a(x).relu(), 2, return_indices=True)
        return m.d(unpool(m.c(m.b(h).relu()).relu(), places, 2))

    net = trained(Between(between, a=conv(3, 8, 1), b=conv(8, 6, 1), c=conv(6, 8, 1), d=conv(8, 2, 1)))
    growth = grows(net, {"a": 12}, drawn(*shape), (drawn(*shape, seed=2),))
    assert growth.student.c.out_channels == 12
