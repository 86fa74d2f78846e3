"""New layers and blocks that don't learn are told of, as new units are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import repeatable, trained

X = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


class Block(nn.Module):
    """A branch that adds to the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.outer(torch.relu(self.inner(x)))


@repeatable
def blocks() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Sequential(Block(), Block()), nn.Linear(4, 2)).double()


@repeatable
def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).double()


def saturated(net: nn.Module, bias: str) -> nn.Module:
    net.get_parameter(bias).data.fill_(-1e3)
    return net


def dead_layers() -> nn.Module:
    return saturated(layers(), "0.bias")


def dead_blocks() -> nn.Module:
    return saturated(blocks(), "1.1.inner.bias")


def deeper(width: int) -> nn.Sequential:
    made = nn.Linear(3, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
    return nn.Sequential(*made).double()


GROWN: dict[str, tuple[Callable[[], net2net.Growth], set[str]]] = {
    "a layer": (lambda: net2net.deepen(dead_layers(), {"0": 1}, X), {"2.weight", "2.bias"}),
    "a block": (
        lambda: net2net.deepen(dead_blocks(), {"1": [1]}, X),
        {"1.2.inner.weight", "1.2.inner.bias", "1.2.outer.weight"},
    ),
    "a plan": (
        lambda: net2net.replay(net2net.deepen(layers(), {"0": 1}, X).plan, dead_layers(), X),
        {"2.weight", "2.bias"},
    ),
    "a student as deep": (lambda: net2net.transfer(dead_layers(), deeper(5), X), {"2.weight", "2.bias"}),
    "a student as deep and wide": (lambda: net2net.transfer(dead_layers(), deeper(8), X), {"2.weight", "2.bias"}),
}


@pytest.mark.parametrize("name", GROWN)
def test_copies_of_what_is_dead_are_told(name: str) -> None:
    grow, expected = GROWN[name]
    with pytest.warns(net2net.Net2NetWarning, match=r"the teacher's own entries neither"):
        growth = grow()
    assert growth.verification.dead == () and expected <= set(growth.verification.idle)
    assert any("teacher's own entries neither" in note for note in growth.plan.notes)


def test_a_block_that_is_dead_where_it_is_put() -> None:
    """The stream that its neighbour gets lets that one learn; behind it, nothing passes the ReLU."""
    teacher = trained(nn.Sequential(nn.Linear(3, 4), nn.Sequential(Block()), nn.Linear(4, 2)))
    block = teacher[1][0]  # type: ignore[index]
    with torch.no_grad():
        teacher[0].bias.fill_(50.0)  # type: ignore[index]
        block.inner.weight.abs_()
        block.inner.bias.zero_()
        block.outer.bias.fill_(-1e4)
    with pytest.warns(net2net.Net2NetWarning, match=r"don't learn. Put the new layers in another place"):
        growth = net2net.deepen(teacher, {"1": 1}, X)
    assert growth.verification.dead == ("1.1.inner.weight", "1.1.inner.bias", "1.1.outer.weight")


@pytest.mark.parametrize(
    ("make", "frozen", "where", "new"),
    [(layers, "0", {"0": 1}, {"2.weight", "2.bias"}), (blocks, "1", {"1": [1]}, None)],
)
def test_new_layers_beside_frozen_ones_are_told(
    make: Callable[[], nn.Module], frozen: str, where: dict[str, int], new: set[str] | None
) -> None:
    teacher = make()
    teacher.get_submodule(frozen).requires_grad_(False)
    with pytest.warns(net2net.Net2NetWarning, match="in frozen layers"):
        growth = net2net.deepen(teacher, where, X)
    expected = new or {f"1.2.{name}" for name, _ in Block().named_parameters()}
    assert set(growth.verification.dead or ()) == expected


def test_what_is_trained_in_a_frozen_block_is_enough(recwarn: pytest.WarningsRecorder) -> None:
    teacher = blocks()
    for name, parameter in teacher.named_parameters():
        parameter.requires_grad_("outer" in name or "1" not in name)
    assert net2net.deepen(teacher, {"1": [1]}, X).verification.dead == ()
    assert not any("gradient" in str(w.message) for w in recwarn)
