"""The contracts for plugins pass for good plugins and fail for each kind of bad one; ours are held to them too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.contracts import OptimizerContract, RuleContract


@torch.library.custom_op("net2net_tests::shifted_gelu", mutates_args=())
def shifted_gelu(x: Tensor, shift: Tensor) -> Tensor:
    return nn.functional.gelu(x + shift)


@shifted_gelu.register_fake
def _(x: Tensor, shift: Tensor) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
    x, shift = ctx.saved_tensors
    with torch.enable_grad():
        summed = (x + shift).detach().requires_grad_()
        (inner,) = torch.autograd.grad(nn.functional.gelu(summed), summed, gradient)
    return inner, inner.sum(0)


shifted_gelu.register_autograd(_backward, setup_context=_keep)


@net2net.register_rule("net2net_tests::shifted_gelu")
def shifted_gelu_axes(inference: Any, node: Any) -> list[Any]:
    return [inference.broadcast(node, [inference.of(node["x"]), inference.of(node["shift"])])]


class ShiftedGelu(nn.Module):
    def __init__(self, width: int = 5) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        return shifted_gelu(x, self.shift)


@torch.library.custom_op("net2net_tests::product", mutates_args=())
def product(x: Tensor, weight: Tensor) -> Tensor:
    return x @ weight.T


@product.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@net2net.register_rule("net2net_tests::product", flow="contract")
def product_axes(inference: Any, node: Any) -> list[Any]:
    inference.contract(node, (node["x"], -1), (node["weight"], -1))  # axes counted from the end
    return [(*inference.of(node["x"])[:-1], inference.of(node["weight"])[0])]


class Product(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return product(x, self.weight)


def test_axes_of_a_product_may_be_counted_from_the_end() -> None:
    network, x = nn.Sequential(Product(3, 5), nn.ReLU(), Product(5, 2)).double(), torch.randn(4, 3).double()
    for how in ("zero_out", "split"):
        student = net2net.widen(network, {"0": 8}, x, how=how).student
        assert (student(x) - network(x)).abs().max() <= 1e-10 * network(x).abs().max()


class TestRule(RuleContract):
    op, grows = "net2net_tests::shifted_gelu", ("0",)
    exact = ("zero_out", "split")

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), ShiftedGelu(), nn.Linear(5, 2))

    def inputs(self) -> Tensor:
        return torch.randn(4, 3)


class TestSoftmax(TestRule):
    """A rule of the library's own: features pass, and what is compared doesn't grow."""

    op = "aten::softmax"

    def network(self) -> nn.Module:
        return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 6), nn.Softmax(-1), nn.Linear(6, 2))


class TestMomentum(OptimizerContract):
    follows = True

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.SGD(parameters, lr=0.02, momentum=0.9)


class TestAdafactor(OptimizerContract):
    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adafactor(parameters, lr=0.01)


def of_other_sizes(inference: Any, node: Any) -> list[Any]:
    return [inference.of(node["x"])[::-1]]


def unrelated(inference: Any, node: Any) -> list[Any]:
    """Forgets that the shift has the features of x."""
    return [inference.of(node["x"])]


def fixing(inference: Any, node: Any) -> list[Any]:
    inference.lock_axes(node["x"], node, "chosen by this test")
    return shifted_gelu_axes(inference, node)


@pytest.mark.parametrize(
    ("rule", "test", "seen"),
    [
        (of_other_sizes, "test_the_rule_gives_axes_of_the_right_sizes", "sizes of its results"),
        (unrelated, "test_what_grows_is_exact", "was refused at"),
        (fixing, "test_what_must_grow_can_grow", "chosen by this test"),
    ],
)
def test_a_wrong_rule_is_seen(rule: Callable[..., Any], test: str, seen: str) -> None:
    net2net.register_rule("net2net_tests::shifted_gelu")(rule)
    try:
        with pytest.raises(AssertionError, match=seen):
            getattr(TestRule(), test)()
    finally:
        net2net.register_rule("net2net_tests::shifted_gelu")(shifted_gelu_axes)


class Forgetful(torch.optim.SGD):
    """Keeps a mean of gradients that is taken for one of their squares."""


class TestForgetful(OptimizerContract):
    __test__ = False
    follows = True

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return Forgetful(parameters, lr=0.02, momentum=0.9)


def test_a_wrong_kind_of_state_is_seen() -> None:
    net2net.register_optimizer(Forgetful, {"momentum_buffer": "second moment"})
    with pytest.raises(net2net.OptionError, match="trajectory"):
        TestForgetful().test_copies_follow_the_teacher()
    net2net.register_optimizer(
        Forgetful, {"momentum_buffer": "second moment"}, lambda scales, group: {"lr": scales.weight / scales.gradient}
    )
    with pytest.raises(AssertionError, match="leaves the teacher's trajectory"):
        TestForgetful().test_copies_follow_the_teacher()


@pytest.mark.parametrize(
    ("name", "options", "seen"),
    [
        ("scaled", {}, "its library and its name"),
        ("mylib::scaled.default", {}, "its library and its name"),
        ("aten::relu", {}, "has a rule in net2net"),
        ("mylib::scaled", {"flow": "through"}, "pass, sum, product"),
        (shifted_gelu, {}, "its name"),
    ],
)
def test_what_is_no_operation_is_refused(name: Any, options: dict[str, str], seen: str) -> None:
    with pytest.raises(net2net.OptionError, match=seen):
        net2net.register_rule(name, **options)
