"""Identity convolutions: kernels of every shape, on images that a shift by one pixel would change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from deeper import error, exact
from support import drawn, refused, trained

X = drawn(3, 2, 9, 8)
CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
Kernel = Any


def around(first: nn.Module, activation: Callable[[], nn.Module] = nn.ReLU, norm: bool = False) -> nn.Module:
    """A convolution, a norm or none, an activation and one more convolution, which sees where a pixel is."""
    torch.manual_seed(0)
    axes = len(first.kernel_size)
    norms = [NORMS[axes - 1](first.out_channels)] if norm else []
    return trained(nn.Sequential(first, *norms, activation(), CONVS[axes - 1](first.out_channels, 2, 2)))


def convolutions(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.modules.conv._ConvNd)]


def is_identity(layer: nn.Module) -> bool:
    """Whether a kernel is 1 in its centre for a channel and itself, and 0 everywhere else; without a shift."""
    weight = torch.zeros_like(layer.weight)
    for channel in range(layer.out_channels):
        weight[(channel, channel, *(k // 2 for k in layer.kernel_size))] = 1
    return torch.equal(layer.weight, weight) and (layer.bias is None or not layer.bias.any())


@pytest.mark.parametrize("kernel", [1, 3, 5, (1, 7), (7, 1), (5, 3)], ids=str)
@pytest.mark.parametrize(("given", "norm"), [("own", False), ("asked", True)], ids=["own", "asked"])
def test_kernels(kernel: Kernel, given: str, norm: bool) -> None:
    """By default the new kernel has the layer's own size; positions outside count as zero and meet no weight."""
    teacher = around(nn.Conv2d(2, 5, kernel if given == "own" else 3, padding="same"), norm=norm)
    growth = exact(teacher, {"0": 1}, X, kernel=None if given == "own" else kernel)
    new = convolutions(growth.student)[1]
    assert new.kernel_size == (kernel if isinstance(kernel, tuple) else (kernel, kernel))
    assert is_identity(new) and new.stride == (1, 1) and new.dilation == (1, 1) and new.groups == 1


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
def test_a_factorised_pair(norm: bool) -> None:
    """Both layers of a pair are the identity, and both have an activation and a norm of their own."""
    growth = exact(around(nn.Conv2d(2, 5, 3), norm=norm), {"0": 1}, X, kernel=[(1, 7), (7, 1)])
    found = convolutions(growth.student)
    assert [layer.kernel_size for layer in found] == [(3, 3), (1, 7), (7, 1), (2, 2)]
    assert all(map(is_identity, found[1:3]))
    kinds = [type(module) for module in growth.student]
    assert kinds.count(nn.ReLU) == 3 and kinds.count(nn.BatchNorm2d) == 3 * norm
    assert growth.plan.deepenings[0].after == 3
    twice = exact(around(nn.Conv2d(2, 5, 3), norm=norm), {"0": 2}, X, kernel=[(1, 7), (7, 1)])
    assert [layer.kernel_size for layer in convolutions(twice.student)[1:5]] == [(1, 7), (7, 1)] * 2


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize(("activation", "norm"), [(nn.ReLU, True), (nn.GELU, False)], ids=["relu", "gelu"])
def test_one_and_three_axes(dims: int, activation: Callable[[], nn.Module], norm: bool) -> None:
    teacher = around(CONVS[dims - 1](2, 4, 3, padding=1), activation, norm)
    student = exact(teacher, {"0": 2}, drawn(3, 2, *(5, 6, 7)[:dims])).student
    layers = convolutions(student)
    assert {type(layer) for layer in layers} == {CONVS[dims - 1]} and len(layers) == 4


SHAPES = [
    nn.Conv2d(2, 5, 4),  # an even kernel: the new one is one larger
    nn.Conv2d(2, 5, (2, 3), stride=2),
    nn.Conv2d(2, 5, 3, dilation=2, padding=2),
    nn.Conv2d(2, 6, 3, groups=2),
    nn.Conv2d(2, 5, 3, padding=1, padding_mode="circular"),
    nn.Conv2d(2, 5, 3, padding=2, padding_mode="reflect", bias=False),
    nn.Conv2d(2, 1, (8, 7)),  # kernels larger than what is left of the image
    nn.ConvTranspose2d(2, 5, 3, stride=2),
    nn.ConvTranspose2d(2, 6, 2, groups=2, bias=False),
]


@pytest.mark.parametrize("layer", SHAPES, ids=str)
def test_layers_of_every_kind(layer: nn.Module) -> None:
    """Whatever the layer does, the new one has stride 1, an odd kernel and zeros around the image."""
    new = convolutions(exact(around(layer, norm=layer.bias is None), {"0": 1}, X).student)[1]
    assert type(new) is nn.Conv2d and is_identity(new) and all(k % 2 for k in new.kernel_size)
    assert (new.bias is None) == (layer.bias is None)


@pytest.mark.parametrize(
    "activation", [nn.GELU, nn.SiLU, nn.Softplus, nn.Hardswish, nn.LeakyReLU, nn.PReLU], ids=lambda a: a.__name__
)
def test_mirrored_pairs(activation: Callable[[], nn.Module]) -> None:
    """With a norm for those that are computed piece by piece, without one for the smooth ones."""
    norm = activation in (nn.Hardswish, nn.LeakyReLU, nn.PReLU)
    layer = nn.Conv2d(2, 5, 4, stride=2, padding_mode="replicate", padding=1)
    growth = exact(around(layer, activation, norm), {"0": 1}, X, kernel=[(1, 5), 3])
    assert [layer.out_channels for layer in convolutions(growth.student)] == [10, 10, 5, 2]


def test_mirrored_pairs_of_groups_are_refused() -> None:
    """The units of a pair would be in other groups than the layer's own."""
    teacher = around(nn.Conv2d(2, 6, 3, groups=2), nn.GELU)
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(teacher, {"0": 1}, X), "'0'", "GELU", "groups")


class Attributes(nn.Module):
    """Convolutions, norms and a pooling as attributes; the activations are functions in the forward."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 5, 3, bias=False), nn.BatchNorm2d(5)
        self.conv2, self.pool = nn.Conv2d(5, 4, 3), nn.MaxPool2d(2)
        self.fc1, self.fc2 = nn.Linear(4 * 2 * 2, 7), nn.Linear(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.pool(F.gelu(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def test_attributes_with_functional_activations() -> None:
    """The new layers come after the norm, never between a convolution and its norm."""
    teacher = trained(Attributes())
    growth = exact(teacher, {"conv1": 1, "conv2": 1, "fc1": 2}, X)
    student = growth.student
    assert isinstance(student.conv1, nn.Conv2d)
    assert [type(m) for m in student.bn1] == [nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    assert [type(m) for m in student.conv2] == [nn.Conv2d, nn.GELU, nn.Conv2d]
    assert student.conv2[0].out_channels == 8 and student.conv2[2].out_channels == 4
    # The place has two names: the layer and the norm that follows it.
    by_norm = exact(teacher, {"bn1": 1}, X).student
    assert error(student, by_norm, X) <= 1e-12 and len(by_norm.bn1) == 4


@pytest.mark.parametrize("kernel", [2, 0, (3,), (3, 3, 3), (1, 4), [(1, 7), 2]], ids=str)
def test_kernels_that_have_no_centre_are_refused(kernel: Kernel) -> None:
    teacher = around(nn.Conv2d(2, 5, 3))
    refused(net2net.OptionError, lambda: net2net.deepen(teacher, {"0": 1}, X, kernel=kernel), "kernel=", "'0'", "odd")


@pytest.mark.parametrize("kernel", [-1, (3, 3.0), []], ids=str)
def test_kernels_that_are_none_are_refused(kernel: Kernel) -> None:
    teacher = around(nn.Conv2d(2, 5, 3))
    refused(net2net.OptionError, lambda: net2net.deepen(teacher, {"0": 1}, X, kernel=kernel), "kernel=")


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (0, -1)], ids=str)
def test_these_images_show_a_shift_by_one_pixel(shift: tuple[int, int]) -> None:
    """The check of this file can fail: an identity whose centre is off by one is far from exact."""
    teacher = around(nn.Conv2d(2, 5, 3))
    student = exact(teacher, {"0": 1}, X).student
    layer = convolutions(student)[1]
    layer.weight.data = layer.weight.roll(shift, (2, 3))
    assert not is_identity(layer) and error(teacher, student, X) > 0.1


@pytest.mark.parametrize("width", [6, 31])
@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU], ids=["relu", "gelu"])
def test_then_wider_reaches_any_width(width: int, activation: Callable[[], nn.Module]) -> None:
    """A new convolution of any width from that of the layer below; its norm's statistics go with it."""
    teacher = around(nn.Conv2d(2, 5, 3), activation, norm=True)
    growth = net2net.grow(teacher, X, where={"0": 1}, sizes={"3": width})
    assert [layer.out_channels for layer in convolutions(growth.student)][1:] == [width, 2]
    assert growth.verification.passed and error(teacher, growth.student, X) <= 1e-12
