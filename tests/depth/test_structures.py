"""Stacks in every way that people write them down: lists, dicts, attributes, loops over numbers, shared weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from deeper import error, exact, learned, parameters, state
from residual import (
    WIDTH,
    Attributes,
    Block,
    Counted,
    InADict,
    Named,
    Rates,
    Shared,
    Single,
    Stack,
    Stages,
    Summed,
    Tables,
)
from support import drawn, refused, trained

X = drawn(5, 4)


def made(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return trained(make())


def kinds(module: nn.Module) -> list[type[nn.Module]]:
    return [type(child) for child in module.children()]


@pytest.mark.parametrize(
    ("where", "lengths"),
    [
        ("2x", [2, 2, 2]),
        ({"block2": 2}, [1, 3, 1]),
        ({".": [0, 2, 2]}, [2, 1, 3]),
    ],
    ids=str,
)
def test_attributes(where: Any, lengths: list[int]) -> None:
    """A new block goes into a Sequential with the one that it follows; the forward isn't touched."""
    teacher = made(Attributes)
    student = exact(teacher, where, X).student
    found = [student.block1, student.block2, student.block3]
    assert [len(b) if isinstance(b, nn.Sequential) else 1 for b in found] == lengths
    firsts = [b[0] if isinstance(b, nn.Sequential) else b for b in found]
    olds = [teacher.block1, teacher.block2, teacher.block3]
    assert all(torch.equal(a.up.weight, b.up.weight) for a, b in zip(firsts, olds, strict=True))


def test_before_the_first_attribute_there_is_no_place() -> None:
    refused(net2net.OptionError, lambda: net2net.deepen(made(Attributes), {".": [-1]}, X), "attribute")


def test_a_loop_up_to_an_attribute() -> None:
    """The number that counts the blocks is found; another that is the same by chance stays."""
    student = exact(made(Counted), {"blocks": 2}, X).student
    assert (student.depth, student.width, len(student.blocks)) == (5, 3, 5)
    built = Counted(5).double()
    built.load_state_dict(student.state_dict(), strict=True)
    assert error(student, built, X) == 0


def test_lists_in_a_list() -> None:
    """Each inner list is a stack of its own; a new block has the sizes of its own stage."""
    student = exact(made(Stages), "2x", X).student
    assert [[block.up.out_features for block in stage] for stage in student.stages] == [[7] * 4, [8] * 6]
    one = exact(made(Stages), {"stages.1": [0]}, X).student
    assert [len(stage) for stage in one.stages] == [2, 4]
    by_block = exact(made(Stages), {"stages.1.2": 2}, X).plan.deepenings
    assert [(d.place, d.sources) for d in by_block] == [("stages.1", (0, 1, 2, 2, 2))]
    refused(net2net.UnknownNameError, lambda: net2net.deepen(made(Stages), {"stages": 1}, X), "'stages.0'", "stages.1")


def alike() -> nn.Module:
    return Stages((2, 2), (7, 7))


def test_stages_that_are_alike_are_a_stack_themselves() -> None:
    """Blocks may be lists of blocks: a new stage is the identity, too."""
    student = exact(made(alike), {"stages": 1}, X).student
    assert [len(stage) for stage in student.stages] == [2, 2, 2]
    inner = exact(made(alike), {"stages.0": 1}, X).student
    assert [len(stage) for stage in inner.stages] == [3, 2]


def test_a_factor_for_stages_that_are_alike() -> None:
    exact(made(alike), "2x", X)


def test_names_in_a_sequential() -> None:
    """What stands before and after stays; new blocks have the name of the one that they follow."""
    student = exact(made(Named), {"body": 3}, X).student
    names = [name for name, _ in student.body.named_children()]
    assert names == ["pre", "a", "a_deeper1", "a_deeper2", "b", "b_deeper1", "post"]
    names = [name for name, _ in exact(made(Named), {"body.a": 1}, X).student.body.named_children()]
    assert names == ["pre", "a", "a_deeper1", "b", "post"]


def test_a_module_dict() -> None:
    student = exact(made(InADict), {"body.first": 1}, X).student
    assert isinstance(student.body["first"], nn.Sequential) and isinstance(student.body["second"], Block)
    assert list(student.body) == ["first", "second"]


def test_one_block_alone() -> None:
    """A block that adds to a stream is a stack of one."""
    assert net2net.analyze(made(Single), X).places["block"].count == 1
    assert kinds(exact(made(Single), "3x", X).student.block) == [Block] * 3


def test_a_list_with_a_number_for_each_block() -> None:
    """The list gets the entry of the block that each new one copies."""
    student = exact(made(Rates), {"blocks": [0, 2]}, X).student
    assert student.rates == [0.0, 0.0, 0.1, 0.2, 0.2]


def test_what_all_blocks_share_stays_shared() -> None:
    """New blocks use the same norm, weight and table, and only the rest is theirs."""
    teacher = made(Shared)
    growth = exact(teacher, "2x", X)
    blocks = growth.student.blocks
    assert len(blocks) == 6
    for of in (lambda b: b.table, lambda b: b.norm.weight, lambda b: b.norm.bias, lambda b: b.up.weight):
        assert len({id(of(block)) for block in blocks}) == 1
    for of in (lambda b: b.up.bias, lambda b: b.down.weight, lambda b: b.down.bias):
        assert len({id(of(block)) for block in blocks}) == 6
    moved = learned(growth, X)
    assert all(moved.values()), [name for name, did in moved.items() if not did]
    built = Shared(6).double()
    built.load_state_dict(growth.student.state_dict(), strict=True)
    assert error(growth.student, built, X) == 0


class Branches(Block):
    """What a branch can end in; the last factor is the one that is zero."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        if kind in ("two", "parallel", "gated", "highway"):
            self.other = nn.Linear(WIDTH, WIDTH)
        if kind == "gain":
            self.gain = nn.Parameter(torch.rand(WIDTH))
        if kind == "normed":
            self.last = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        branch = self.down(F.gelu(self.up(normed)))
        if self.kind == "difference":
            return x - branch
        if self.kind == "two":
            return x + self.other(x) + branch
        if self.kind == "parallel":
            return self.other(normed) + branch + x
        if self.kind == "gain":
            return x + self.gain * branch
        if self.kind == "gated":
            return x + branch * torch.sigmoid(self.other(x))
        if self.kind == "normed":
            return x + self.last(branch)
        if self.kind == "bent":
            return x + torch.tanh(branch)
        if self.kind == "relu":
            return F.relu(x + branch)
        if self.kind == "scaled":
            return x / 2 + branch
        if self.kind == "highway":
            gate = torch.sigmoid(self.other(x))
            return gate * branch + (1 - gate) * x
        assert self.kind == "sigmoid"
        return x + torch.sigmoid(branch)


DOWN, OTHER = ("down.weight", "down.bias"), ("other.weight", "other.bias")
ZERO = {
    "difference": DOWN,
    "two": (*OTHER, *DOWN),
    "parallel": (*OTHER, *DOWN),
    "gain": ("gain",),
    "gated": DOWN,
    "normed": ("last.weight", "last.bias"),
    "bent": DOWN,
}


@pytest.mark.parametrize("kind", ZERO)
def test_ways_to_end_a_branch(kind: str) -> None:
    growth = exact(made(lambda: Stack(lambda: Branches(kind))), {"blocks": [1]}, X)
    found = parameters(growth.student.blocks[2])
    assert {name for name, p in found.items() if not p.any()} == set(ZERO[kind])
    used = {name for name, did in learned(growth, X).items() if did}
    assert {f"blocks.2.{name}" for name in ZERO[kind]} <= used


@pytest.mark.parametrize(
    ("kind", "word"), [("scaled", "div"), ("highway", "changes the stream"), ("sigmoid", "sigmoid")]
)
def test_blocks_that_cannot_be_the_identity(kind: str, word: str) -> None:
    """The refusal names the operation that changes the stream, and the stack can still be copied inexactly."""
    model = made(lambda: Stack(lambda: Branches(kind)))
    # A clipped stream refuses a block before the first one only: what comes out of a block is clipped already.
    where = {"blocks": [-1 if kind == "relu" else 0]}
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(model, where, X), "'blocks'", word, "stack")
    assert kind != "scaled" or net2net.deepen(model, {"blocks": 1}, X, init="stack").plan.preserves == "none"


def test_after_the_first_a_clipped_stream_can_be_extended() -> None:
    """max(x + branch, 0) is the identity where the stream comes out of such a block: not after the stem."""
    model = made(lambda: Stack(lambda: Branches("relu")))
    exact(model, {"blocks": [0, 2]}, X)
    refused(net2net.FixedDimensionError, lambda: net2net.deepen(model, {"blocks": [-1]}, X), "'blocks'", "relu")


def test_a_normalised_stream_without_an_eps() -> None:
    class Post(Block):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.RMSNorm(WIDTH)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(x + self.down(F.gelu(self.up(x))))

    exact(made(lambda: Stack(Post)), {"blocks": 1}, X)


@pytest.mark.parametrize("make", [pytest.param(Summed, id="all states"), pytest.param(Tables, id="table outside")])
def test_forwards_that_use_what_is_between_the_blocks(make: Callable[[], nn.Module]) -> None:
    """No new block can be silent there: a refusal that names the stack, before anything is measured."""
    with pytest.raises(net2net.GrowthError, match="'blocks'") as caught:
        net2net.deepen(made(make), {"blocks": 1}, X)
    assert not isinstance(caught.value, net2net.VerificationError)


def test_one_block_that_runs_several_times() -> None:
    """One module at three places is one set of weights: there is no further block to add."""
    model = made(lambda: Stack(Block))
    model.blocks = nn.ModuleList([model.blocks[0]] * 3)
    refused(net2net.GrowthError, lambda: net2net.deepen(model, "2x", X))


def test_two_growths_one_after_the_other() -> None:
    """A student is a teacher like any other, and what was new in it is copied like the rest."""
    teacher = made(Attributes)
    once = exact(teacher, {"block1": 1}, X).student
    twice = exact(once, {"block3": 1}, X).student
    assert error(teacher, twice, X) <= 1e-12
    listed = made(lambda: Counted(2))
    again = exact(exact(listed, {"blocks": 1}, X).student, {"blocks": 1}, X).student
    assert len(again.blocks) == again.depth == 4 and error(listed, again, X) <= 1e-12
    assert torch.equal(state(again)["blocks.0.up.weight"], state(listed)["blocks.0.up.weight"])
