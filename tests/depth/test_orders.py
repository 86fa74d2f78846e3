"""Where new blocks go in a stack, and the ways to copy blocks that don't keep the function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import equal_states, error, exact, state
from net2net.depth import NOT_PRESERVING, Order, order
from support import drawn, refused, repeatable, trained
from zoo.plain import ResidualMLP
from zoo.resnets import CifarResNet

X = drawn(5, 11)
ORDERS = {  # what the sources say of 4 blocks with 2 more, 4 more, and 3 with 2 more
    "stack": ("0 1 2 3 0+ 1+", "0 1 2 3 0+ 1+ 2+ 3+", "0 1 2 0+ 1+"),
    "interleave": ("0 0+ 1 2 2+ 3", "0 0+ 1 1+ 2 2+ 3 3+", "0 0+ 1 1+ 2"),
    "middle": ("0 1 2 1+ 2+ 3", "0 1 2 3 0+ 1+ 2+ 3+", "0 1 2 1+ 2+"),
    "overlap": ("0 1 2 1+ 2+ 3", "0 1 2 3 0+ 1+ 2+ 3+", "0 1 2 1+ 2+"),
}


@repeatable
def teacher() -> nn.Module:
    return trained(ResidualMLP(depth=4))


def written(blocks: Order | net2net.plan.Deepening) -> str:
    """An order as text: the block of the teacher that each one is, or copies where it is new (+)."""
    pairs = blocks if isinstance(blocks, tuple) else zip(blocks.sources, blocks.new, strict=True)
    return " ".join(f"{source}{'+' * new}" for source, new in pairs)


@pytest.mark.parametrize(
    ("positions", "new", "expected"),
    [
        ("spread", 1, "0 1 2 3 3+"),
        ("spread", 2, "0 1 1+ 2 3 3+"),
        ("spread", 4, "0 0+ 1 1+ 2 2+ 3 3+"),
        ("spread", 6, "0 0+ 0+ 1 1+ 2 2+ 2+ 3 3+"),
        ("append", 3, "0 1 2 3 3+ 3+ 3+"),
        ("before_last", 2, "0 1 2 2+ 2+ 3"),
        ([2, 0], 2, "0 0+ 1 2 2+ 3"),
        ([1, 1, 1], 3, "0 1 1+ 1+ 1+ 2 3"),
        ([-1], 1, "0+ 0 1 2 3"),
        ([-1, -1, 3], 3, "0+ 0+ 0 1 2 3 3+"),
        ((0, 3), 2, "0 0+ 1 2 3 3+"),
        (lambda blocks, new: [blocks - 2] * new, 2, "0 1 2 2+ 2+ 3"),
    ],
    ids=lambda value: "callable" if callable(value) else str(value),
)
def test_positions(positions: Any, new: int, expected: str) -> None:
    """The order is the one asked for, each new block copies the one before it (the first, where none is), exactly."""
    assert written(order(4, new, "zero", positions, "blocks")) == expected
    if new > 3 or positions in ("append", "before_last", [1, 1, 1], (0, 3)):
        return  # the order alone: the rest takes time
    growth = exact(teacher(), {"blocks": new}, X, positions=positions)
    (deepening,) = growth.plan.deepenings
    assert written(deepening) == expected
    assert (deepening.place, deepening.kind, deepening.before, deepening.after) == ("blocks", "blocks", 4, 4 + new)
    for block, source in zip(growth.student.blocks, deepening.sources, strict=True):
        assert torch.equal(block.up.weight, teacher().blocks[source].up.weight)


def test_a_list_in_the_request_is_its_positions() -> None:
    growth = exact(teacher(), {"blocks": [3, -1]}, X)
    assert written(growth.plan.deepenings[0]) == "0+ 0 1 2 3 3+"


@pytest.mark.parametrize(
    ("positions", "part"),
    [
        ("sprinkle", "'sprinkle'"),
        ([0], "2 numbers from -1 to 3"),
        ([0, 4], "got [0, 4]"),
        ([0, -2], "got [0, -2]"),
        ([0, 1.0], "numbers"),
        ([True, 0], "numbers"),
        (lambda blocks, new: [blocks] * new, "got [4, 4]"),
        pytest.param(3, "positions"),
    ],
    ids=lambda value: "callable" if callable(value) else str(value),
)
def test_bad_positions_are_refused(positions: Any, part: str) -> None:
    """The message names the stack's range or the ways there are."""
    refused(net2net.OptionError, lambda: net2net.deepen(teacher(), {"blocks": 2}, X, positions=positions), part)


@pytest.mark.parametrize("init", ORDERS)
def test_orders_of_copies(init: str) -> None:
    for (blocks, new), expected in zip([(4, 2), (4, 4), (3, 2)], ORDERS[init], strict=True):
        assert written(order(blocks, new, init, "spread", "blocks")) == expected


@pytest.mark.parametrize("init", [*ORDERS, "random"])
def test_copies_are_measured_and_promise_nothing(init: str) -> None:
    """The student comes back with the label "none" and its true error; its weights are those of its sources."""
    before = state(teacher())
    growth = net2net.deepen(teacher(), {"blocks": 2}, X, init=init)
    assert growth.plan.preserves == growth.verification.preserves == "none"
    assert growth.verification.passed and growth.verification.max_relative_error > 1e-2
    assert error(teacher(), growth.student, X) > 1e-2
    (deepening,) = growth.plan.deepenings
    assert deepening.init == init
    assert written(deepening) == ("0 1 1+ 2 3 3+" if init == "random" else ORDERS[init][0])
    for block, source, new in zip(growth.student.blocks, deepening.sources, deepening.new, strict=True):
        same = equal_states(state(block), state(teacher().blocks[source]))
        assert same == (not new or init != "random")
    kept = {name: tensor for name, tensor in state(growth.student).items() if not name.startswith("blocks.")}
    assert all(torch.equal(tensor, before[name]) for name, tensor in kept.items())
    assert "NOT function-preserving" in str(growth.plan)


def test_random_blocks_follow_the_seed_and_the_initialisers() -> None:
    """Weights have the spread of a fresh layer's, norms their defaults: what training made of them is not taken."""
    models = [net2net.deepen(teacher(), {"blocks": 2}, X, init="random", seed=s).student for s in (0, 0, 1)]
    one, again, other = (model.blocks[2] for model in models)
    assert equal_states(state(one), state(again)) and not torch.equal(one.up.weight, other.up.weight)
    assert torch.equal(one.norm.weight, torch.ones_like(one.norm.weight)) and not one.norm.bias.any()
    bound = one.up.in_features**-0.5  # torch draws linear layers uniformly within this
    assert 0.7 * bound < one.up.weight.abs().max() <= bound
    assert 0 < one.up.bias.abs().max() <= bound


def test_random_blocks_leave_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    net2net.deepen(teacher(), {"blocks": 1}, X, init="random")
    assert torch.equal(before, torch.get_rng_state())


def test_copies_of_norms_with_statistics() -> None:
    """Running statistics are copied with the block; only fresh blocks begin anew."""
    torch.manual_seed(0)
    resnet, x = trained(CifarResNet(num_blocks=(2, 1, 1), planes=(4, 6, 8))), drawn(3, 3, 8, 8)
    copied = net2net.deepen(resnet, {"layer1": 1}, x, init="stack").student.layer1[2]
    assert equal_states(state(copied), state(resnet.layer1[0]))
    fresh = net2net.deepen(resnet, {"layer1": 1}, x, init="random").student.layer1[2]
    assert not fresh.bn1.running_mean.any() and torch.equal(fresh.bn1.running_var, torch.ones(4).double())


@pytest.mark.parametrize("init", NOT_PRESERVING)
def test_copies_of_blocks_are_no_way_for_layers(init: str) -> None:
    refused(net2net.OptionError, lambda: net2net.deepen(teacher(), {"blocks.0.up": 1}, X, init=init), init, "layer")


def test_what_does_not_go_together() -> None:
    refused(
        net2net.OptionError,
        lambda: net2net.deepen(teacher(), {"blocks": 2}, X, init="stack", positions="append"),
        "'stack'",
        "positions",
    )
    for init in ("middle", "overlap"):
        refused(net2net.SizeError, lambda i=init: net2net.deepen(teacher(), {"blocks": 5}, X, init=i), "doubles", init)
    refused(net2net.OptionError, lambda: net2net.deepen(teacher(), {"blocks": 2}, X, init="twins"), "'twins'", "stack")
    for seed in (-1, 1.5, True):
        refused(net2net.OptionError, lambda s=seed: net2net.deepen(teacher(), {"blocks": 1}, X, seed=s), "seed")


class Joined(nn.Module):
    """Two stacks, of which one can't be deepened exactly: its blocks hand on no sum."""

    def __init__(self) -> None:
        super().__init__()
        self.good = ResidualMLP(depth=2)
        self.bad = nn.Sequential(*(nn.Sequential(nn.Linear(5, 5), nn.Tanh()) for _ in range(2)))

    def forward(self, x: Tensor) -> Tensor:
        return self.bad(self.good(x))


def test_a_factor_for_all_says_what_it_left_out() -> None:
    """By name the stack is refused; with a factor it is left out, with the same reason."""
    model = trained(Joined())
    growth = exact(model, 2.0, X)
    assert [d.place for d in growth.plan.deepenings] == ["good.blocks"] and set(growth.plan.left_out) == {"bad"}
    reason = growth.plan.left_out["bad"]
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(model, {"bad": 1}, X), "'bad'", "aten.tanh")
    assert "aten.tanh" in reason and reason in str(growth.plan)
    both = net2net.deepen(model, 2.0, X, init="stack")
    assert [d.place for d in both.plan.deepenings] == ["good.blocks", "bad"] and not both.plan.left_out


def test_a_factor_that_adds_nothing_is_refused() -> None:
    """Neither blocks nor layers: the student would be the teacher."""
    refused(net2net.SizeError, lambda: net2net.deepen(teacher(), "1x", X), "nothing would grow")
    chain = trained(nn.Sequential(nn.Linear(11, 8), nn.ReLU(), nn.Linear(8, 3)))
    refused(net2net.SizeError, lambda: net2net.deepen(chain, "1x", X), "nothing would grow")
