"""Known mistakes, made on purpose: the library's own verification, or a check of these tests, must see them.

A mutation changes a plan, the tensors made from it, or a function of the library; the growth that it
spoils is exact without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.apply import _tensors
from net2net.plan import AxisMap, Plan
from net2net.sites import _compose
from net2net.width import _units
from support import drawn_uniformly, from_zoo, names_at, repeatable, separation, source_of, trained, widen_at

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

State = dict[str, Tensor]
Patch = pytest.MonkeyPatch


def on_plan(change: Callable[[Plan], Plan]) -> Callable[[Patch], None]:
    """A mutation of the plan of a growth."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.width import plan_width

        monkeypatch.setattr(
            "net2net.operators._width_design.plan_width", lambda *args, **options: change(plan_width(*args, **options))
        )

    return patch


def on_state(change: Callable[[Plan, State, State], None]) -> Callable[[Patch], None]:
    """A mutation of the student's tensors: `change(plan, teacher's, student's)`."""

    def patch(monkeypatch: Patch) -> None:
        from net2net.apply import grow_state

        def grown(plan: Plan, state: State, initialiser: Any = None) -> State:
            result = grow_state(plan, state, initialiser)
            change(plan, state, result)
            return result

        monkeypatch.setattr("net2net.operators._widen.grow_state", grown)

    return patch


def with_axis(plan: Plan, tensor: str, axis: int, change: Callable[[AxisMap], AxisMap]) -> Plan:
    """The plan with one axis of one tensor mapped differently."""
    before = plan.tensors[tensor]
    axes = tuple(change(m) if k == axis and m is not None else m for k, m in enumerate(before.axes))
    return replace(plan, tensors={**plan.tensors, tensor: replace(before, axes=axes)})


def other_map(units: int, blocks: int = 1) -> Callable[[AxisMap], AxisMap]:
    """Copies of other units than the plan's: the next one for each new place (of one block of several)."""

    def change(m: AxisMap) -> AxisMap:
        source, length = m.source.copy(), len(m.source) // blocks
        source[units:length] = (source[units:length] + 1) % units
        return replace(m, source=source)

    return change


@repeatable
def conv_net() -> nn.Module:
    layers = [
        nn.Conv2d(2, 5, 3),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 2),
        nn.ReLU(),
        nn.Conv2d(6, 3, 1),
    ]
    return trained(nn.Sequential(*layers))


IMAGES = torch.randn(4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
VECTORS = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def grow_conv_net() -> net2net.Growth:
    return widen_at(conv_net(), {"0.weight": 9, "3.weight": 10}, IMAGES, how="split", shares="even")


class Joined(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(4, 5), nn.Linear(4, 6), nn.Linear(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(torch.cat([self.a(x), self.b(x)], 1)))


@repeatable
def joined() -> nn.Module:
    return trained(Joined())


def grow_joined() -> net2net.Growth:
    return widen_at(joined(), {"a.weight": 8, "b.weight": 9}, VECTORS, how="split")


def grow_skip() -> net2net.Growth:
    teacher, x = from_zoo("shared_module")
    return widen_at(teacher, {"stem.weight": 25}, x, how="split")


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x)[0])


@repeatable
def recurrent() -> nn.Module:
    return trained(Recurrent())


def grow_recurrent() -> net2net.Growth:
    return widen_at(recurrent(), {("last.weight", 1): 9}, VECTORS.reshape(2, 3, 4), how="split")


def grow_queries() -> net2net.Growth:
    teacher, x = from_zoo("llama")
    name = names_at(net2net.analyze(teacher, x), "layers.0.attention.q_proj.weight", 0)[1]
    return net2net.widen(teacher, {name: 6}, x, how="split", shares="even")


def grow_stream() -> net2net.Growth:
    teacher, x = from_zoo("mlp_layernorm_residual")
    return widen_at(teacher, {"stem.weight": 31}, x, how="zero_out")


def grow_noisy() -> net2net.Growth:
    return widen_at(conv_net(), {"0.weight": 9}, IMAGES, how="split", noise="zero_sum")


def default_statistics(plan: Plan, old: State, new: State, keep: Callable[[int], bool] = lambda i: i < 5) -> None:
    for name, default in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
        for place in range(len(new[f"1.{name}"])):
            if not keep(place):
                new[f"1.{name}"][place] = default


def divided_bias(plan: Plan) -> Plan:
    shares = plan.tensors["3.weight"].axes[1].factor  # type: ignore[union-attr]
    return with_axis(plan, "0.bias", 0, lambda m: replace(m, factor=shares))


def forgotten_bias(plan: Plan, old: State, new: State) -> None:
    new["3.bias"][6:] = 0


def counts_of_the_wrong_layer(plan: Plan) -> Plan:
    """Algorithm 1 read literally: rows divided by the counts of their own units, not columns by theirs."""
    source = plan.tensors["3.weight"].axes[0].source  # type: ignore[union-attr]
    wrong = 1.0 / np.bincount(source)[source]
    plan = with_axis(plan, "3.weight", 1, lambda m: replace(m, factor=None))
    return with_axis(plan, "3.weight", 0, lambda m: replace(m, factor=wrong))


def offset_by_new_widths(monkeypatch: Patch) -> None:
    honest = _compose._joined

    def joined(maps: list[AxisMap], lengths: list[int]) -> AxisMap:
        moved, total = honest(maps, lengths), sum(lengths)
        starts = np.cumsum([0, *(len(m.source) for m in maps[:-1])])
        source = np.concatenate([m.source + s for m, s in zip(maps, starts, strict=True)])
        return replace(moved, source=np.minimum(source, total - 1))

    monkeypatch.setattr(_compose, "_joined", joined)


def tiled_queries(plan: Plan) -> Plan:
    """Heads copied behind all the old ones: where key-value heads are fixed, a copy reads another's keys."""
    heads, width = 6, 4
    tiled = np.tile(np.arange(heads * width), 2)
    for name, axis in (("q_proj", 0), ("o_proj", 1)):
        tensor = f"layers.0.attention.{name}.weight"
        plan = with_axis(plan, tensor, axis, lambda m: replace(m, source=tiled))
    return plan


def noise_with_a_rest(monkeypatch: Patch) -> None:
    honest = _tensors._noise
    monkeypatch.setattr(_tensors, "_noise", lambda *args: honest(*args) + 1e-6)


def same_noise_on_both_copies(monkeypatch: Patch) -> None:
    """One draw per old unit, given to all its copies: it does not cancel."""
    honest = _tensors._noise

    def repeated(like: Tensor, noise: Any, axis_map: AxisMap, *rest: Any) -> Tensor:
        drawn = honest(like, noise, axis_map, *rest)
        first = {unit: place for place, unit in reversed(list(enumerate(axis_map.source.tolist())))}
        return drawn.index_select(noise.axis, torch.tensor([first[u] for u in axis_map.source.tolist()]))

    monkeypatch.setattr(_tensors, "_noise", repeated)


def without_gain(plan: Plan) -> Plan:
    return replace(plan, tensors={n: replace(t, scale=1.0) for n, t in plan.tensors.items()})


def without_means(monkeypatch: Patch) -> None:
    honest = _tensors._fill

    def zeros(result: Tensor, old: Tensor, axis: int, places: Any, how: str, *rest: Any) -> None:
        honest(result, old, axis, places, "zero" if how == "mean" else how, *rest)

    monkeypatch.setattr(_tensors, "_fill", zeros)


@dataclass(frozen=True)
class Mutation:
    name: str
    grow: Callable[[], net2net.Growth]
    patch: Callable[[Patch], None]
    departs: str = ""  # the module that must be named as the first to depart

    def __str__(self) -> str:
        return self.name


MUTATIONS = [
    Mutation("batch norm of copies at its default", grow_conv_net, on_state(default_statistics)),
    Mutation(
        "batch norm copied for the last channel only",
        grow_conv_net,
        on_state(lambda plan, old, new: default_statistics(plan, old, new, lambda i: i < 5 or i == 8)),
    ),
    *(
        Mutation(
            f"batch norm's {name} from another map",
            grow_conv_net,
            on_plan(lambda plan, name=name: with_axis(plan, f"1.{name}", 0, other_map(5))),  # type: ignore[misc]
        )
        for name in ("weight", "bias", "running_mean", "running_var")
    ),
    Mutation("bias divided by the counts", grow_conv_net, on_plan(divided_bias), "0"),
    Mutation("next bias not copied", grow_conv_net, on_state(forgotten_bias)),
    Mutation("counts of the wrong layer", grow_conv_net, on_plan(counts_of_the_wrong_layer), "3"),
    Mutation("concatenation offset by new widths", grow_joined, offset_by_new_widths),
    Mutation(
        "independent maps across a skip",
        grow_skip,
        on_plan(lambda plan: with_axis(plan, "shared.2.weight", 0, other_map(16))),
    ),
    Mutation(
        "copied weights without their share",
        grow_skip,
        on_plan(lambda plan: with_axis(plan, "head.weight", 1, lambda m: replace(m, factor=None))),
    ),
    Mutation("same noise on both copies", grow_noisy, same_noise_on_both_copies, "3"),
    Mutation("noise that does not sum to zero", grow_noisy, noise_with_a_rest, "3"),
    Mutation(
        "gate blocks with different maps",
        grow_recurrent,
        on_plan(lambda plan: with_axis(plan, "rnn.weight_hh_l0", 0, other_map(5, blocks=3))),
    ),
    Mutation("grouped queries tiled", grow_queries, on_plan(tiled_queries)),
    Mutation("eps not rescaled", grow_stream, on_plan(lambda plan: replace(plan, attributes={}))),
    Mutation("gain not rescaled", grow_stream, on_plan(without_gain), "blocks.0.norm"),
    Mutation("new units of a layer-normed stream at 0, not the mean", grow_stream, without_means),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=str)
def test_verification_catches(mutation: Mutation, monkeypatch: Patch) -> None:
    assert mutation.grow().verification.max_relative_error < 1e-10
    mutation.patch(monkeypatch)
    with pytest.raises(net2net.VerificationError, match="is not returned") as caught:
        mutation.grow()
    if mutation.departs:
        assert f"diverges is '{mutation.departs}'" in str(caught.value)


@contextmanager
def red() -> Iterator[None]:
    """The check inside must fail."""
    with pytest.raises(AssertionError):
        yield


def check_choice(growth: net2net.Growth) -> None:
    assert drawn_uniformly(source_of(growth, "0.weight"), 5)


@pytest.mark.filterwarnings("ignore:new entries get gradients")
def test_the_check_of_the_draw_catches_copies_of_one_unit_only(monkeypatch: Patch) -> None:
    def grow() -> net2net.Growth:
        return widen_at(conv_net(), {"0.weight": 505}, IMAGES[:1], how="split")

    check_choice(grow())

    class Argmax:
        def integers(self, low: int, high: int, count: int) -> np.ndarray:
            return np.full(count, 3)

    monkeypatch.setattr(_units, "generator", lambda *_: Argmax())
    with red():
        check_choice(grow())  # exact all the same: only the distribution shows it


def check_papers_noise(growth: net2net.Growth) -> None:
    source, weight = source_of(growth, "0.weight"), growth.student[0].weight.detach()
    assert torch.equal(weight[:5], conv_net()[0].weight)  # the first copies stay as they are
    assert separation(weight.flatten(1), source) > 1e-4


@pytest.mark.parametrize("patch", [same_noise_on_both_copies, lambda _: None], ids=["same", "none"])
def test_the_check_of_the_papers_noise_catches_copies_that_stay_twins(
    patch: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    def grow(noise: str | None = "paper") -> net2net.Growth:
        return widen_at(conv_net(), {"0.weight": 9}, IMAGES, how="split", shares="even", noise=noise)

    check_papers_noise(grow())
    patch(monkeypatch)
    with red():
        check_papers_noise(grow("paper" if patch is same_noise_on_both_copies else None))


def test_the_check_of_the_papers_noise_catches_noise_on_the_first_copy(monkeypatch: Patch) -> None:
    honest = _tensors._noise
    monkeypatch.setattr(_tensors, "_noise", lambda *args: honest(*args) + 1e-3)
    with red():
        check_papers_noise(widen_at(conv_net(), {"0.weight": 9}, IMAGES, how="split", noise="paper"))


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_liveness_catches_a_product_of_two_silent_factors(monkeypatch: Patch) -> None:
    """New units with nothing in and nothing out never get a gradient: exact, and useless."""

    def silent(plan: Plan, old: State, new: State) -> None:
        for name in ("0.weight", "0.bias"):
            new[name][5:] = 0

    def grow() -> net2net.Growth:
        layers = [nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)]
        return widen_at(trained(nn.Sequential(*layers)), {"0.weight": 9}, VECTORS, how="zero_out")

    assert grow().verification.dead == ()
    on_state(silent)(monkeypatch)
    growth = grow()
    assert growth.verification.passed
    assert set(growth.verification.dead or ()) == {"0.weight", "0.bias", "2.weight"}


class FirstOperand(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(3, 5))

    def forward(self, x: Tensor) -> Tensor:
        return (self.b @ torch.relu(self.a @ x.t())).t()


def test_liveness_catches_zeros_on_the_side_of_the_activations(monkeypatch: Patch) -> None:
    """The right operand of every product taken for its weight: exact, and dead behind a ReLU. The user is told."""

    def right(self: Any, node: Any, left: Any, right: Any) -> None:
        self.sums(node, self.of(left[0])[left[1]], right, left)

    def grow() -> net2net.Growth:
        return widen_at(trained(FirstOperand()), {"a": 9}, VECTORS, how="zero_out")

    assert grow().verification.dead == ()
    monkeypatch.setattr("net2net.axes.Inference.contract", right)
    monkeypatch.setattr(
        "net2net.sites._silence.Silence._asked", lambda self, value: (frozenset(), True)
    )  # would choose the other
    with pytest.warns(net2net.Net2NetWarning, match="no gradient reaches"):
        growth = grow()
    assert growth.verification.passed and growth.verification.dead


class _InTraining(nn.Module):
    """Training runs a branch of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head, self.aux = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Any:
        z = torch.relu(self.body(x))
        return (self.head(z), self.aux(z), z.mean(1)) if self.training else self.head(z)


@pytest.mark.filterwarnings("ignore:no example reads")
def test_without_train_mode_a_branch_of_training_is_missed(monkeypatch: Patch) -> None:
    """One trace for the whole module, in eval mode, and a proof of eval mode alone: the student can't train."""
    net, x = _InTraining().double(), torch.randn(5, 4, dtype=torch.float64)
    with pytest.raises(net2net.GrowthError, match="averaged"):
        net2net.widen(net, {"body": 12}, x)
    monkeypatch.setattr("net2net.analysis._analyze.with_train_mode", lambda model, examples: examples)
    with pytest.raises(net2net.GrowthError, match="aux"):  # what nothing reads may share the axis
        net2net.widen(net, {"body": 12}, x)
    with pytest.raises(net2net.VerificationError, match="train mode"):
        net2net.widen(net, {"body": 12}, x, unread="keep")
    monkeypatch.setattr("net2net.proof._measure.MODES", ("eval",))
    student = net2net.widen(net, {"body": 12}, x, unread="keep").student
    with pytest.raises(RuntimeError):
        student.train()(x)
