"""Identity layers after weights that are computed, after slopes of each channel, and behind a name that others read."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

import net2net
from support import refused, trained

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().abs().max() / a.detach().abs().max())


def exact(teacher: nn.Module, where: Any, x: Tensor = X) -> net2net.Growth:
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    growth = net2net.deepen(teacher, where, x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    other = torch.randn_like(x)
    mode = teacher.training
    teacher.eval(), growth.student.eval()
    with torch.no_grad():
        assert relative(teacher(other), growth.student(other)) <= 1e-10
    teacher.train(mode), growth.student.train(mode)
    return growth


def around(wrap: Callable[[nn.Module], nn.Module], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Linear(4, 8), activation(), wrap(nn.Linear(8, 8)), activation(), nn.Linear(8, 3)
    return nn.Sequential(*layers).double()


def pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.3)
    with torch.no_grad():
        layer.weight = layer.weight.detach()
    return layer


COMPUTED = {
    "weight_norm": parametrizations.weight_norm,
    "spectral_norm": parametrizations.spectral_norm,
    "hook of weight_norm": torch.nn.utils.weight_norm,
    "hook of spectral_norm": torch.nn.utils.spectral_norm,
    "orthogonal": parametrizations.orthogonal,
    "pruned": pruned,
}


@pytest.mark.parametrize("kind", COMPUTED)
@pytest.mark.parametrize("where", ["2x", {"2": 1}, {"2": 2}], ids=str)
def test_weights_that_are_computed(kind: str, where: Any) -> None:
    """The new layer is an ordinary one; its dtype and its moments come from what is stored."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        teacher = around(COMPUTED[kind])
        growth = exact(teacher, where)
        optimizer = torch.optim.Adam([p for p in teacher.parameters() if p.requires_grad])
        teacher(X).square().mean().backward()
        optimizer.step()
        carried = growth.optimizer(optimizer)
    assert growth.student[4].weight.dtype == torch.float64 and not growth.plan.left_out
    assert len(carried.state) == len([p for p in growth.student.parameters() if p.requires_grad])


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", COMPUTED)
def test_computed_weights_have_no_mirrored_units(kind: str) -> None:
    """A factor for all leaves the layer out, with its reason; asked for by name it is refused for the same one."""
    teacher = around(COMPUTED[kind], nn.GELU)
    growth = exact(teacher, "2x")
    place = net2net.analyze(teacher, X).places["2"]
    assert place.growth == "fixed" and "computed" in place.reason and growth.plan.left_out == {"2": place.reason}
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"2": 1}, X), "'2'", "computed")


def test_a_factor_for_all_says_what_it_leaves_out() -> None:
    teacher = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)).double()
    growth = exact(teacher, 2.0)
    assert list(growth.plan.left_out) == ["0"] and "Tanh" in growth.plan.left_out["0"]
    assert "left out: 0" in str(growth.plan)


SLOPED: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 2)), X),
    "conv": (
        lambda: nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.PReLU(5), nn.Conv2d(5, 2, 3)),
        torch.randn(2, 2, 7, 7, dtype=torch.float64),
    ),
}


@pytest.mark.parametrize("kind", SLOPED)
@pytest.mark.parametrize("count", [1, 3])
def test_a_slope_for_each_channel(kind: str, count: int) -> None:
    make, x = SLOPED[kind]
    teacher = trained(make())
    (sloped,) = (m for m in teacher.modules() if isinstance(m, nn.PReLU))
    with torch.no_grad():
        sloped.weight.copy_(torch.linspace(-0.9, 1.7, sloped.num_parameters))
    student = exact(teacher, {"0": count}, x).student
    slopes = [m for m in student.modules() if isinstance(m, nn.PReLU)]
    assert [m.num_parameters for m in slopes] == [2 * sloped.num_parameters] * count + [sloped.num_parameters]
    assert all(m.num_parameters == m.weight.numel() for m in slopes)
    with torch.no_grad():
        sloped.weight[3] = -1
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"0": 1}, x), "slope -1", "[3]")


def test_a_slope_for_each_position() -> None:
    """PReLU takes the second axis for its channels: after a layer on three axes these are positions."""
    teacher = trained(nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.Linear(6, 2)))
    x = torch.randn(2, 6, 4, dtype=torch.float64)
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"0": 1}, x), "position")


class Penalised(nn.Module):
    """The loss is a part of the forward in training, and reads a weight by its name."""

    def __init__(self, activation: Callable[[Tensor], Tensor] = torch.relu) -> None:
        super().__init__()
        self.a, self.b, self.activation = nn.Linear(4, 8), nn.Linear(8, 2), activation

    def forward(self, x: Tensor) -> Any:
        h = self.activation(self.a(x)).view(-1, self.a.out_features)
        return (self.b(h), self.a.weight.square().sum() + self.a.bias.sum()) if self.training else self.b(h)


def test_a_layer_answers_to_its_name() -> None:
    teacher = trained(Penalised())
    student = exact(teacher, {"a": 2}).student
    a = student.a
    assert a.in_features == 4 and a.out_features == 8 and a.weight is a[0].weight and a.bias is a[0].bias
    for mine, theirs in zip(student.train()(X), teacher.train()(X), strict=True):
        assert relative(theirs, mine) <= 1e-10
    with pytest.raises(AttributeError):
        _ = a.nothing_of_the_kind


def test_a_mirrored_layer_answers_with_its_width() -> None:
    class Sized(Penalised):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.activation(self.a(x)).view(-1, self.a.out_features))

    student = exact(trained(Sized(F.gelu)), {"a": 1}).student
    assert student.a.out_features == 8 and student.a[0].out_features == 16


def test_a_penalty_on_a_mirrored_layer_is_no_longer_the_same() -> None:
    """Its weight is there twice, so that a loss which reads it in training is another: that is never returned."""
    with pytest.raises(net2net.GrowthError):
        net2net.deepen(trained(Penalised(F.gelu)), {"a": 1}, X)


def test_copies_of_a_layer_with_others_behind_it() -> None:
    student = exact(trained(Penalised()), {"a": 1}).student.eval()
    fresh = net2net.deepen(trained(Penalised()), {"a": 1}, X).student.eval()
    fresh.load_state_dict(student.state_dict())
    for other in (pickle.loads(pickle.dumps(student)), copy.deepcopy(student), fresh):
        assert torch.equal(other(X), student(X)) and other.a.weight is not student.a.weight


def test_tying_after_the_growth() -> None:
    student = exact(trained(Penalised()), {"a": 1}).student
    shared = nn.Parameter(torch.zeros(8, 4, dtype=torch.float64))
    student.a.weight = shared
    assert student.a[0].weight is shared and "a.weight" not in dict(student.named_parameters())


def test_what_is_behind_a_layer_grows_on() -> None:
    student = exact(trained(Penalised()), {"a": 1}).student
    wider = net2net.widen(student, {"a": 11}, X).student
    assert wider.a.out_features == 11 and relative(student.eval()(X), wider.eval()(X)) <= 1e-10
    assert len(exact(student, {"a.0": 1}).student.a) == 5


def test_a_weight_that_is_read_elsewhere_has_no_mirrored_units() -> None:
    class Tied(Penalised):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(self.a(x)) @ self.a.weight

    refused(net2net.FixedDimensionError, lambda: net2net.deepen(trained(Tied()), {"a": 1}, X), "a.weight", "elsewhere")


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(4, 7), nn.Linear(7, 4)

    def forward(self, x: Tensor, mask: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        h = torch.relu(self.up(x)) * mask
        return x + scale * self.down(h), h.mean()


class Called(nn.Module):
    """Blocks that are attributes, called with a mask beside the stream, and giving back something beside it."""

    def __init__(self, by_keyword: bool) -> None:
        super().__init__()
        self.first, self.second, self.head, self.by_keyword = Masked(), Masked(), nn.Linear(4, 2), by_keyword

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        if self.by_keyword:
            x, m = self.first(mask=mask, x=x)
            x, n = self.second(mask=mask, x=x)
        else:
            x, m = self.first(x, mask)
            x, n = self.second(x, mask, scale=0.5)
        return self.head(x), m + n


@pytest.mark.parametrize("by_keyword", [False, True])
def test_blocks_that_are_called_with_several_arguments(by_keyword: bool) -> None:
    teacher, mask = trained(Called(by_keyword)), torch.rand(5, 7, dtype=torch.float64)
    for where in ({"second": 2}, {"first": 1, "second": 1}, "2x"):
        try:
            student = net2net.deepen(teacher, where, (X, mask)).student
        except net2net.OptionError:  # two keys, one stack
            continue
        for mine, theirs in zip(student(X + 1, mask), teacher(X + 1, mask), strict=True):
            assert relative(theirs, mine) <= 1e-10
        assert len([m for m in student.modules() if isinstance(m, Masked)]) > 2
