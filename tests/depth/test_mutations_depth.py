"""Known mistakes of deepening, made on purpose: the library's own verification, or a check of these tests, sees them.

A mutation changes what a function of the library gives back; the growth that it spoils is exact without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import error
from net2net.apply import _tensors
from net2net.depth import BlockEdit, Change, LayerPlace
from net2net.plan import TensorPlan
from support import drawn, refused, repeatable, trained
from zoo.plain import ResidualMLP, tokens
from zoo.recurrent import EncoderClassifier

State = dict[str, Tensor]
Patch = pytest.MonkeyPatch
Mutate = Callable[[Patch], None]

IMAGES = drawn(64, 3, 6, 6)
VECTORS = drawn(6, 11)
IDS = tokens(2, 7, vocab=37)


def of_state(change: Callable[[State], None]) -> Mutate:
    """A mutation of the student's tensors."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.apply import grow_state

        def grown(*args: Any) -> State:
            result = grow_state(*args)
            change(result)
            return result

        monkeypatch.setattr("net2net.operators._deepen.grow_state", grown)

    return patch


def of_identity(change: Callable[[Tensor], Tensor]) -> Mutate:
    """A mutation of every identity matrix and kernel."""

    def patch(monkeypatch: Patch) -> None:
        honest = _tensors._filled

        def filled(like: Tensor, plan: TensorPlan) -> Tensor:
            found = honest(like, plan)
            return change(found) if plan.fill == "identity" else found

        monkeypatch.setattr(_tensors, "_filled", filled)

    return patch


def of_blocks(change: Callable[[BlockEdit], None]) -> Mutate:
    """A mutation of what new blocks start as."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.depth import block_edit

        def edited(*args: Any, **options: Any) -> BlockEdit:
            edit = block_edit(*args, **options)
            change(edit)
            return edit

        monkeypatch.setattr("net2net.operators._depth_design.block_edit", edited)

    return patch


def of_places(change: Callable[[LayerPlace], LayerPlace]) -> Mutate:
    """A mutation of where identity layers go, and around what."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.depth import find_layers

        monkeypatch.setattr(
            "net2net.operators._depth_design.find_layers", lambda *args: list(map(change, find_layers(*args)))
        )

    return patch


def of_statistics(change: Callable[[Any, list[Tensor]], tuple[np.ndarray, np.ndarray]]) -> Mutate:
    """A mutation of the mean and the variance that a new norm gets: `change(honest ones, batches)`."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.operators._calibrate import statistics

        def changed(model: nn.Module, batches: Any, places: Any) -> Any:
            found = statistics(model, batches, places)
            few = statistics(model, [replace(b, args=(b.args[0][:4],)) for b in batches[:1]], places)
            return {
                n: replace(s, **dict(zip(("mean", "variance"), change(s, few[n]), strict=True)))
                for n, s in found.items()
            }

        monkeypatch.setattr("net2net.operators._depth_design.statistics", changed)

    return patch


@repeatable
def conv_net() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 2)]
    return trained(nn.Sequential(*layers))


def deepen_conv() -> net2net.Growth:
    return net2net.deepen(conv_net(), {"0": 1}, IMAGES)


@repeatable
def gelu_net() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(11, 7), nn.GELU(), nn.Linear(7, 3)))


def deepen_mirrored() -> net2net.Growth:
    return net2net.deepen(gelu_net(), {"0": 2}, VECTORS)


class Maxout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lin, self.head = nn.Linear(11, 12), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lin(x).view(-1, 4, 3).amax(2))


@repeatable
def maxout() -> nn.Module:
    return trained(Maxout())


def deepen_maxout() -> net2net.Growth:
    return net2net.deepen(maxout(), {"lin": 1}, VECTORS)


@repeatable
def residual() -> nn.Module:
    return trained(ResidualMLP(depth=3))


def deepen_residual() -> net2net.Growth:
    return net2net.deepen(residual(), {"blocks": [0, 1]}, VECTORS)


@repeatable
def post_norm() -> nn.Module:
    return trained(EncoderClassifier(layers=2))


def deepen_post_norm() -> net2net.Growth:
    return net2net.deepen(post_norm(), {"encoder": 2}, IDS)


def scaled(name: str, power: float) -> Callable[[State], None]:
    return lambda new: new.update({name: new[name].sign() * new[name].abs() ** power})


def swapped(new: State) -> None:
    """Old blocks in another order: new ones are silent wherever they stand, and hide nothing."""
    for name in [n.removeprefix("blocks.0.") for n in new if n.startswith("blocks.0.")]:
        new[f"blocks.0.{name}"], new[f"blocks.2.{name}"] = new[f"blocks.2.{name}"], new[f"blocks.0.{name}"]


def without(*endings: str) -> Callable[[BlockEdit], None]:
    """New blocks in which tensors with these endings are copies."""

    def change(edit: BlockEdit) -> None:
        for key in [key for key in edit.changes if key[1].endswith(endings)]:
            del edit.changes[key]

    return change


def no_scale(edit: BlockEdit) -> None:
    edit.changes.update({key: replace(change, scale=1.0) for key, change in edit.changes.items()})


@dataclass(frozen=True)
class Mutation:
    name: str
    grow: Callable[[], net2net.Growth]
    patch: Mutate

    def __str__(self) -> str:
        return self.name


MUTATIONS = [
    Mutation("kernel centre off by one column", deepen_conv, of_identity(lambda w: w.roll(1, 3))),
    Mutation("kernel centre off by one row", deepen_conv, of_identity(lambda w: w.roll(-1, 2))),
    Mutation(
        "identity on all pairs of channels",
        deepen_conv,
        of_identity(lambda w: w.sum(1, keepdim=True).expand_as(w).contiguous()),
    ),
    Mutation("identity of the wrong channels", deepen_conv, of_identity(lambda w: w.roll(1, 0))),
    Mutation("gain is the variance, not its root", deepen_conv, of_state(scaled("4.weight", 2))),
    Mutation("no shift in the new norm", deepen_conv, of_state(lambda new: new["4.bias"].zero_())),
    Mutation("statistics unlike the gain", deepen_conv, of_state(lambda new: new["4.running_var"].fill_(1))),
    Mutation(
        "between a convolution and its norm",
        deepen_conv,
        of_places(lambda p: replace(p, last=p.name, last_module=p.layer)),
    ),
    Mutation("an identity instead of a pair", deepen_mirrored, of_places(lambda p: replace(p, kind="identity"))),
    Mutation("a pair without the slope", deepen_mirrored, of_places(lambda p: replace(p, slope=1.2))),
    Mutation(
        "a pair of one sign", deepen_mirrored, of_state(lambda new: new["0.weight"].copy_(new["0.weight"].abs()))
    ),
    Mutation("a pair whose bias has one sign", deepen_mirrored, of_state(lambda new: new["0.bias"][7:].neg_())),
    Mutation("pieces of other units", deepen_maxout, of_identity(lambda w: w.roll(1, 0))),
    Mutation("new blocks as copies, nothing zero", deepen_residual, of_blocks(lambda edit: edit.changes.clear())),
    Mutation("the branch's bias as a copy", deepen_residual, of_blocks(without("down.bias"))),
    Mutation("zero in the old blocks", deepen_residual, of_state(lambda new: new["blocks.0.down.weight"].zero_())),
    Mutation("old blocks in another order", deepen_residual, of_state(swapped)),
    Mutation("post-norm with its eps", deepen_post_norm, of_blocks(lambda edit: edit.attributes.clear())),
    Mutation("post-norm without the root of two", deepen_post_norm, of_blocks(no_scale)),
    Mutation("post-norm with the gain twice", deepen_post_norm, of_blocks(without("norm1.weight", "norm2.weight"))),
    Mutation("post-norm with the shift twice", deepen_post_norm, of_blocks(without("norm1.bias", "norm2.bias"))),
    Mutation("one of two branches zero", deepen_post_norm, of_blocks(without("linear2.weight", "linear2.bias"))),
]  # fmt: skip


FIRST = list({mutation.grow: mutation for mutation in MUTATIONS}.values())  # one for each growth


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_verification_catches(mutation: Mutation, monkeypatch: Patch) -> None:
    if mutation in FIRST:
        assert mutation.grow().verification.max_relative_error < 1e-10
    mutation.patch(monkeypatch)
    with pytest.raises(net2net.VerificationError, match="is not returned"):
        mutation.grow()


def check_train_mode(growth: net2net.Growth) -> None:
    """Close in train mode, on a batch that the calibration hasn't seen (A11)."""
    assert error(conv_net(), growth.student, drawn(64, 3, 6, 6, seed=2), train=True) < 0.05


def default_statistics(honest: Any, few: Any) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros_like(honest.mean), np.ones_like(honest.variance)


def one_step_of_running_averages(honest: Any, few: Any) -> tuple[np.ndarray, np.ndarray]:
    return 0.01 * few.mean, 0.99 + 0.01 * few.variance


def mean_of_squares(honest: Any, few: Any) -> tuple[np.ndarray, np.ndarray]:
    return honest.mean, honest.variance + honest.mean**2


@pytest.mark.parametrize("wrong", [default_statistics, one_step_of_running_averages, mean_of_squares])
def test_the_check_of_train_mode_catches(wrong: Callable[..., Any], monkeypatch: Patch) -> None:
    """All of these are exact in eval mode, where gain and shift undo whatever statistics there are."""
    check_train_mode(deepen_conv())
    of_statistics(wrong)(monkeypatch)
    growth = deepen_conv()
    assert growth.verification.max_relative_error < 1e-10
    assert growth.verification.errors["train/given/output"] > 0.05  # and the proof says so
    with pytest.raises(AssertionError):
        check_train_mode(growth)


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("also", [("up.weight", "up.bias"), ("norm.weight", "norm.bias", "up.bias")], ids=str)
def test_liveness_catches_a_product_of_two_zero_factors(also: tuple[str, ...], monkeypatch: Patch) -> None:
    """Exact, and useless: the gradient of each factor is the other one, and both are zero for ever."""

    def both(edit: BlockEdit) -> None:
        new = {index for index, _ in edit.changes}
        edit.changes.update({(index, name): Change("values", 0.0) for index in new for name in also})

    assert deepen_residual().verification.dead == ()
    of_blocks(both)(monkeypatch)
    growth = deepen_residual()
    assert growth.verification.passed
    expected = {f"blocks.{i}.{name}" for i in (1, 3) for name in ("up.weight", "up.bias", "down.weight")}
    assert expected <= set(growth.verification.dead or ())


@pytest.mark.filterwarnings("ignore:no example reads")
def test_a_number_of_blocks_that_was_not_raised_is_refused(monkeypatch: Patch) -> None:
    """A forward that counts to the old number reads only the first blocks: nothing new would ever run."""

    class Loop(ResidualMLP):
        def __init__(self) -> None:
            super().__init__(depth=3)
            self.depth = 3

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            for i in range(self.depth):
                x = self.blocks[i](x)
            return self.head(x)

    model = trained(Loop())
    assert net2net.deepen(model, {"blocks": 1}, VECTORS).student.depth == 4
    monkeypatch.setattr("net2net.student._deeper._settings", lambda *_: iter([[]]))
    refused(net2net.CouplingError, lambda: net2net.deepen(model, {"blocks": 1}, VECTORS), "doesn't read 'blocks.3")


def test_the_error_by_hand_sees_what_the_verification_sees() -> None:
    """The checks of these tests are their own code: they must see a student that is off, too."""
    student = deepen_residual().student
    assert error(residual(), student, VECTORS) <= 1e-12
    with torch.no_grad():
        student.blocks[1].down.bias[3] = 1e-6
    assert error(residual(), student, VECTORS) > 1e-8
