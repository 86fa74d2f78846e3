"""Identity layers behind a layer and its activation: exact for every activation that allows one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from deeper import error, exact, parameters
from support import drawn, refused, repeatable, trained

# Inputs large enough that the upper bounds of ReLU6 and hardtanh are met, too.
X = drawn(7, 4, scale=4.0)
IMAGES = drawn(3, 2, 9, 8)
Activation = Callable[[], nn.Module]

IDEMPOTENT: list[Activation] = [nn.ReLU, nn.ReLU6, nn.Hardtanh, lambda: nn.Hardtanh(-2.0, 3.0)]
MIRRORED: list[Activation] = [
    nn.GELU,
    lambda: nn.GELU("tanh"),
    nn.SiLU,
    nn.Softplus,
    nn.Hardswish,
    nn.LeakyReLU,
    lambda: nn.LeakyReLU(0.3),
    nn.PReLU,
]


def name(make: Activation) -> str:
    return str(make())


def chain(activation: Activation, norm: bool = False, bias: bool = True) -> nn.Module:
    """Two linear layers with something between them."""
    torch.manual_seed(0)
    norms = [nn.BatchNorm1d(6)] if norm else []
    return trained(nn.Sequential(nn.Linear(4, 6, bias=bias), *norms, activation(), nn.Linear(6, 3)))


class Functional(nn.Module):
    """Layers that are attributes, with an activation that its forward calls as a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = [function]  # in a list: not even a function that is a module is found by its class
        self.fc1, self.fc2 = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.function[0](self.fc1(x)))


@pytest.mark.parametrize("activation", IDEMPOTENT, ids=name)
@pytest.mark.parametrize("count", [1, 3])
def test_idempotent_activations_in_a_sequential(activation: Activation, count: int) -> None:
    """The new layers are the identity matrix without a bias, and the old ones stay as they are."""
    teacher = chain(activation)
    student = exact(teacher, {"0": count}, X).student
    kinds = [nn.Linear, type(activation())]
    assert list(map(type, student)) == [*kinds * (count + 1), nn.Linear]
    assert torch.equal(student[0].weight, teacher[0].weight) and torch.equal(student[-1].weight, teacher[2].weight)
    for k in range(1, count + 1):
        assert torch.equal(student[2 * k].weight, torch.eye(6).double())
        assert torch.equal(student[2 * k].bias, torch.zeros(6).double())
    # The modules are new ones: an optimizer's state or a hook of one layer is not another's.
    assert len(set(map(id, student))) == len(student)


@pytest.mark.parametrize("activation", MIRRORED, ids=name)
@pytest.mark.parametrize(("count", "norm"), [(1, False), (2, True)], ids=["one", "two behind a norm"])
def test_mirrored_pairs(activation: Activation, count: int, norm: bool) -> None:
    """Each unit gets a partner of the opposite sign; the next layer adds the two and divides by the slope."""
    teacher = chain(activation, norm)
    student = exact(teacher, {"0": count}, X).student
    one, two = student[0].weight.chunk(2)
    assert torch.equal(one, teacher[0].weight) and torch.equal(two, -teacher[0].weight)
    linear = [module for module in student if isinstance(module, nn.Linear)]
    assert [layer.out_features for layer in linear] == [*[12] * count, 6, 3]
    f, at = teacher[-2], torch.tensor([2.0]).double()
    eye = torch.eye(6).double() * 2 / (f(at) - f(-at)).detach()
    assert torch.allclose(linear[-2].weight, torch.cat([eye, -eye], 1), rtol=0, atol=1e-12)
    slopes = {name: slope for name, slope in parameters(student).items() if slope.numel() == 1}
    assert len(slopes) == (count + 1 if activation is nn.PReLU else 0)  # PReLU: a slope for each, not one for all


@pytest.mark.parametrize(
    "function",
    [torch.relu, F.relu6, F.hardtanh, lambda x: x.clamp(-1, 2), lambda x: x.clamp(min=0.3)],
    ids=["relu", "relu6", "hardtanh", "clamp", "clamp-min"],
)
def test_idempotent_functions_in_a_forward(function: Callable[[Tensor], Tensor]) -> None:
    """The layer that is an attribute becomes a Sequential of itself and the new ones; or the refusal says why not."""
    teacher = trained(Functional(function))
    try:
        student = exact(teacher, {"fc1": 2}, X).student
    except net2net.FixedDimensionError as refusal:
        assert "clamp" in str(refusal) and "torch has none" in str(refusal)
    else:
        assert isinstance(student.fc1, nn.Sequential) and len(student.fc1) == 5
        assert torch.equal(student.fc1[4].weight, torch.eye(6).double())


@pytest.mark.parametrize(
    "function",
    [
        F.gelu,
        lambda x: F.gelu(x, approximate="tanh"),
        F.silu,
        F.softplus,
        pytest.param(F.hardswish),
        F.leaky_relu,
        lambda x: F.leaky_relu(x, 0.2),
    ],
    ids=["gelu", "gelu-tanh", "silu", "softplus", "hardswish", "leaky_relu", "leaky_relu-0.2"],
)
def test_mirrored_functions_in_a_forward(function: Callable[[Tensor], Tensor]) -> None:
    """The arguments of the function are those of the new layers' activations: another slope would not be exact."""
    student = exact(trained(Functional(function)), {"fc1": 2}, X).student
    assert [layer.out_features for layer in student.fc1[::2]] == [12, 12, 6]


@pytest.mark.parametrize("make", [nn.Tanh, nn.Sigmoid, nn.ELU, nn.Mish, nn.SELU])
@pytest.mark.parametrize("written", ["module", "function"])
def test_other_activations_are_refused_by_name(make: type[nn.Module], written: str) -> None:
    if written == "module":
        place, teacher, word = "0", chain(make), make.__name__
    else:
        functions = [torch.tanh, torch.sigmoid, F.elu, F.mish, F.selu]
        function = next(f for f in functions if f.__name__ == make.__name__.lower())
        place, teacher, word = "fc1", trained(Functional(function)), function.__name__
    reason = "f(f(x)) = f(x) or f(x) - f(-x) = s x"
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {place: 1}, X), f"'{place}'", word, reason)
    # With a factor for everything there is nothing left to grow, and the message names the same reason.
    refused(net2net.UnknownNameError, lambda: net2net.deepen(teacher, "2x", X), f"'{place}'", word, reason)


def test_a_slope_for_each_channel() -> None:
    """The units of a pair share their slope, and the new layer divides by what each pair gives."""
    exact(chain(lambda: nn.PReLU(6)), {"0": 1}, X)


def test_a_softplus_with_a_near_threshold_is_refused() -> None:
    """Above its threshold torch's softplus is x itself: with the threshold at 2 its odd part is not linear."""
    near = chain(lambda: nn.Softplus(beta=1.0, threshold=2.0))
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(near, {"0": 1}, X), "Softplus")


@pytest.mark.parametrize(
    ("activation", "norm"), [(nn.ReLU, True), (nn.GELU, True), (nn.PReLU, False)], ids=["relu", "gelu", "prelu"]
)
def test_without_a_bias(activation: Activation, norm: bool) -> None:
    """A layer without a bias is followed by layers without one."""
    student = exact(chain(activation, norm, bias=False), {"0": 2}, X).student
    assert [layer.bias is None for layer in student if isinstance(layer, nn.Linear)] == [True, True, True, False]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU], ids=["relu", "silu"])
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
def test_frozen_parameters_stay_frozen(activation: Activation, norm: bool) -> None:
    """What the teacher froze is frozen in the student; the other layers learn."""
    teacher = chain(activation, norm)
    teacher[0].weight.requires_grad_(False)
    if norm:
        teacher[1].requires_grad_(False)
    with pytest.warns(net2net.Net2NetWarning, match="frozen layers"):
        found = parameters(exact(teacher, {"0": 1}, X).student)
    frozen = {name for name, parameter in found.items() if not parameter.requires_grad}
    assert {"0.weight", *(("1.weight", "1.bias") if norm else ())} <= frozen
    last = str(max(int(name.partition(".")[0]) for name in found))
    assert not {f"{last}.weight", f"{last}.bias", "0.bias"} & frozen


@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 1, 5), (1, 13, 2)], ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU], ids=["relu", "gelu"])
def test_awkward_sizes(sizes: tuple[int, int, int], activation: Activation) -> None:
    inputs, hidden, outputs = sizes
    torch.manual_seed(0)
    teacher = trained(nn.Sequential(nn.Linear(inputs, hidden), activation(), nn.Linear(hidden, outputs)))
    exact(teacher, {"0": 2}, drawn(6, inputs, scale=3.0))


def test_names_in_a_sequential_with_names() -> None:
    """Old layers keep their names, and so do the keys of a checkpoint."""
    torch.manual_seed(0)
    layers = [("first", nn.Linear(4, 6)), ("act", nn.ReLU()), ("last", nn.Linear(6, 2))]
    teacher = trained(nn.Sequential(OrderedDict(layers)))
    student = exact(teacher, {"first": 1}, X).student
    assert list(teacher.state_dict()) == [k for k in student.state_dict() if "deeper" not in k]
    assert torch.equal(student.last.weight, teacher.last.weight)


@repeatable
def deep() -> nn.Module:
    """Three places with three kinds of activation, in a Sequential in a Sequential."""
    inner = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 7), nn.Sigmoid())
    return trained(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), inner, nn.Linear(7, 5), nn.SiLU(), nn.Linear(5, 2)))


def test_a_factor_for_all_grows_what_can_grow() -> None:
    growth = exact(deep(), "3x", X)
    assert [(d.place, d.kind, d.after) for d in growth.plan.deepenings] == [
        ("0", "layers", 3),
        ("2.0", "layers", 3),
        ("3", "layers", 3),
    ]


def test_a_state_dict_loads_into_a_network_built_deeper() -> None:
    student = exact(deep(), {"0": 1, "2.0": 1}, X).student
    inner = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 5), nn.GELU(), nn.Linear(5, 7), nn.Sigmoid())
    layers = [nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), inner]
    built = nn.Sequential(*layers, nn.Linear(7, 5), nn.SiLU(), nn.Linear(5, 2)).double()
    built.load_state_dict(student.state_dict(), strict=True)
    assert error(student, built, X) == 0


@pytest.mark.parametrize(
    ("activation", "norm"), [(nn.ReLU, True), (nn.GELU, False), (nn.Hardswish, True)], ids=["relu", "gelu", "hardswish"]
)
def test_float32(activation: Activation, norm: bool) -> None:
    """A float32 teacher gives a float32 student that agrees to 1e-5 as it is, without going to float64."""
    teacher = chain(activation, norm).float()
    growth = exact(teacher, {"0": 3}, X.float(), tolerance=1e-5)
    assert {p.dtype for p in growth.student.parameters()} == {torch.float32}


@pytest.mark.parametrize("width", [7, 12, 61])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU], ids=["relu", "gelu"])
def test_then_wider_reaches_any_width(activation: Activation, width: int) -> None:
    """An identity layer that is widened: a new layer of any width from that of the layer below."""
    teacher = chain(activation)
    growth = net2net.grow(teacher, X, where={"0": 1}, sizes={"2": width})
    assert growth.verification.passed and growth.verification.dead == ()
    assert growth.student[2].out_features == growth.student[4].in_features == width
    assert growth.plan.earlier is not None and growth.plan.earlier.deepenings[0].place == "0"
    assert error(teacher, growth.student, X) <= 1e-12
    refused(net2net.SizeError, lambda: net2net.grow(teacher, X, where={"0": 1}, sizes={"2": 5}), "'2'")
