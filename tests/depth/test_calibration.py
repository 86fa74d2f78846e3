"""A new BatchNorm undoes its own normalisation, which takes data: eval mode is exact, train mode is close."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from deeper import equal_states, error, exact, state
from support import drawn, refused, repeatable, trained

Inputs = Any
BATCH = 64


def images(seed: int, count: int = BATCH) -> Tensor:
    """A batch of one distribution, whose channels have means and spreads of their own."""
    spread = torch.tensor([0.4, 1.0, 2.5]).double()[:, None, None]
    return drawn(count, 3, 6, 6, seed=seed) * spread + spread - 0.8


@repeatable
def convnet() -> nn.Module:
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.BatchNorm2d(5)]
    model = trained(nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4)))
    return settled(model)


def settled(model: nn.Module) -> nn.Module:
    """A network whose running statistics are those of its data, as after training."""
    with torch.no_grad():
        for seed in range(50, 80):
            model.train()(images(seed))
    return model.eval()


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def reaching(model: nn.Module, index: int, inputs: Tensor) -> Tensor:
    """What reaches the layer of a Sequential with this index, in train mode: values by channel."""
    with torch.no_grad():
        value = copy.deepcopy(model).train()[:index](inputs)
    return value.transpose(0, 1).flatten(1)


def test_eval_is_exact_whatever_the_statistics() -> None:
    """Even the statistics of a wrong distribution cancel in eval mode; no mode but train is approximate."""
    for calibration in (None, [100 * images(2) + 7]):
        growth = exact(convnet(), {"0": 1, "3": 2}, images(3), calibration=calibration)
        assert growth.verification.approximate == ("train",)
        assert any(key.startswith("train/") for key in growth.verification.errors)


@pytest.mark.parametrize("kind", ["relu", "gelu"])
def test_train_mode_is_close_after_calibration(kind: str) -> None:
    """Batches that the calibration has not seen, of the same distribution: less than 0.05 at 64 images."""
    teacher = convnet()
    if kind == "gelu":
        teacher[2] = nn.GELU()
        teacher = settled(teacher)
    growth = exact(teacher, {"0": 1, "3": 1}, images(1), calibration=[images(seed) for seed in range(2, 10)])
    errors = [error(teacher, growth.student, images(seed), train=True) for seed in range(20, 25)]
    assert 1e-9 < max(errors) < 0.05, errors


def test_more_data_is_closer() -> None:
    """The error falls with the batch, as that of an estimate does: it is the batch's own noise."""
    teacher = convnet()
    student = exact(teacher, {"0": 1}, images(1), calibration=[images(s) for s in range(2, 18)]).student
    small, large = (
        sum(error(teacher, student, images(seed, count), train=True) for seed in range(20, 26)) for count in (4, 256)
    )
    assert large < small / 3


def test_the_variance_is_that_of_all_batches_together() -> None:
    """Two unequal batches: the mean of their variances would miss their sizes, and that their means differ."""
    teacher, one, two = convnet(), images(1, 48), images(2, 16) ** 5
    student = exact(teacher, {"0": 1}, images(3), calibration=[one, two]).student
    together = torch.cat([reaching(teacher, 3, batch) for batch in (one, two)], 1)
    mean, variance = together.mean(1), together.var(1, unbiased=False)
    norm = student[4]
    assert torch.allclose(norm.running_mean, mean, rtol=1e-9) and torch.allclose(norm.running_var, variance, rtol=1e-9)
    assert torch.allclose(norm.weight, (variance + norm.eps).sqrt(), rtol=1e-9)
    assert torch.allclose(norm.bias, mean, rtol=1e-9)
    parts = torch.stack([reaching(teacher, 3, batch).var(1, unbiased=False) for batch in (one, two)])
    for wrong, least in ((parts.mean(0), 0.1), (0.75 * parts[0] + 0.25 * parts[1], 1e-3)):
        assert ((variance - wrong).abs() / variance).max() > least  # the test can tell them apart


@pytest.mark.parametrize("count", [1, 3])
def test_layers_in_a_row_have_the_same_statistics(count: int) -> None:
    """Each of them gets what the one before it gives back; they share nothing but the numbers."""
    student = exact(convnet(), {"0": count}, images(1)).student
    found = norms(student)[1 : 1 + count]
    assert len({id(norm.weight) for norm in found}) == count
    assert all(equal_states(state(norm), state(found[0])) for norm in found)
    assert all(int(norm.num_batches_tracked) == 0 for norm in found)


def test_options_of_the_norm_are_the_teachers() -> None:
    teacher = convnet()
    teacher[1].eps, teacher[1].momentum = 1e-3, 0.02
    new = exact(teacher, {"0": 1}, images(1)).student[4]
    assert (new.eps, new.momentum, new.affine, new.track_running_stats) == (1e-3, 0.02, True, True)


@pytest.mark.parametrize("training", [False, True])
def test_the_teacher_is_untouched(training: bool) -> None:
    """Calibration runs batches through it in train mode: statistics, modes, gradients and draws stay as they were."""
    teacher = convnet().train(training)
    teacher.append(nn.Dropout(0.5))
    teacher[4].eval()
    modes, before, random = [m.training for m in teacher.modules()], state(teacher), torch.get_rng_state()
    hooks = [len(module._forward_hooks) for module in teacher.modules()]
    growth = net2net.deepen(teacher, {"0": 1}, images(1), [images(2), images(3)])
    assert equal_states(before, state(teacher)) and modes == [m.training for m in teacher.modules()]
    assert torch.equal(random, torch.get_rng_state()) and hooks == [len(m._forward_hooks) for m in teacher.modules()]
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters()) and teacher[-1].p == 0.5
    assert growth.student[0].training == training and growth.student[4].training == teacher[1].training


def test_dropout_does_not_blur_the_statistics() -> None:
    """They are those without dropout, and the same at every call."""
    torch.manual_seed(0)
    layers = [nn.Linear(6, 6), nn.Dropout(0.5), nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)]
    teacher, x = trained(nn.Sequential(*layers)), drawn(64, 6)
    one, two = (norms(exact(teacher, {"2": 1}, x).student)[1] for _ in range(2))
    assert equal_states(state(one), state(two))
    without = copy.deepcopy(teacher)
    without[1].p = 0.0
    expected = reaching(without, 5, x).mean(1)
    assert torch.allclose(one.running_mean, expected, rtol=1e-9)


def test_dead_channels_are_floored_and_noted() -> None:
    """A channel that never fires has no variance: without a floor its gain would be next to zero for ever."""
    teacher = convnet()
    with torch.no_grad():
        teacher[1].bias[[2, 5]] = -100.0
    growth = exact(teacher, {"0": 1}, images(1))
    norm = growth.student[4]
    alive = norm.running_var[[0, 1, 3, 4, 6, 7]]
    assert torch.equal(norm.running_var[2], norm.running_var[5]) and 0 < norm.running_var[2] < alive.min() / 100
    assert norm.running_mean[2] == 0 and (norm.weight >= norm.running_var.sqrt()).all()
    (note,) = [note for note in growth.plan.notes if "dead" in note]
    assert "[2, 5]" in note and "'0'" in note and note in str(growth.plan)
    assert not any("dead" in note for note in exact(convnet(), {"0": 1}, images(1)).plan.notes)


def test_the_notes_say_how_much_data_there_was() -> None:
    growth = net2net.deepen(convnet(), {"0": 1}, images(1), [images(s, 5) for s in (2, 3, 4)])
    assert any("3 batch" in note and "'0'" in note for note in growth.plan.notes)


def batches() -> Iterator[Tensor]:
    yield from (images(2), images(3, 32))


@pytest.mark.parametrize(
    "calibration",
    [
        lambda: batches(),
        lambda: [images(2), images(3, 32)],
        lambda: ((images(2),), (images(3, 32),)),
        lambda: [{"input": images(2)}, {"input": images(3, 32)}],
        lambda: torch.cat([images(2), images(3, 32)]),
    ],
    ids=["generator", "list", "tuples", "dicts", "one tensor"],
)
def test_batches_in_every_form(calibration: Callable[[], Any]) -> None:
    """The same data in other wrappings gives the same statistics, up to which batch each old norm sees."""
    found = norms(exact(convnet(), {"0": 1}, images(1), calibration=calibration()).student)[1]
    expected = norms(exact(convnet(), {"0": 1}, images(1), calibration=[images(2), images(3, 32)]).student)[1]
    exactly = isinstance(calibration(), Tensor)
    assert torch.allclose(found.running_mean, expected.running_mean, rtol=0.05 if exactly else 1e-12)


@pytest.mark.parametrize(
    ("calibration", "part"),
    [
        ([], "no batch"),
        (lambda: iter(()), "no batch"),
        ([drawn(4, 2, 6, 6)], "doesn't run"),  # another number of channels
        ([(images(2), torch.zeros(BATCH))], "without labels"),  # a batch of a loader: images and labels
        ([{"pixels": images(2)}], "doesn't run"),
    ],
    ids=["empty", "empty generator", "shape", "labels", "name"],
)
def test_bad_batches_are_refused(calibration: Any, part: str) -> None:
    calibration = calibration() if callable(calibration) else calibration
    refused(net2net.OptionError, lambda: net2net.deepen(convnet(), {"0": 1}, images(1), calibration), part)


def test_batches_that_are_not_finite_are_refused() -> None:
    bad = images(2)
    bad[0, 0, 0, 0] = float("nan")
    with pytest.raises(net2net.GrowthError):
        net2net.deepen(convnet(), {"0": 1}, images(1), [bad])


def test_one_value_for_each_channel_is_no_statistic() -> None:
    """One example gives a BatchNorm1d no variance: a refusal that asks for data, or a student that can be trained."""
    torch.manual_seed(0)
    teacher = trained(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2)))
    try:
        student = net2net.deepen(teacher, {"0": 1}, drawn(1, 4)).student
    except net2net.OptionError as refusal:
        assert "calibration" in str(refusal)
    else:
        assert error(teacher, student, drawn(1, 4)) <= 1e-12
        assert error(teacher, student, drawn(BATCH, 4), train=True) < 0.5


class TwoOrders(nn.Module):
    """A norm without a gain and a shift, one that keeps a plain average, and a functional activation."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.na = nn.Linear(4, 7), nn.BatchNorm1d(7, affine=False)
        self.b, self.nb = nn.Linear(7, 5), nn.BatchNorm1d(5, momentum=None)
        self.c = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.nb(self.b(F.silu(self.na(self.a(x)))))))


def test_norms_without_a_gain_and_with_a_plain_average() -> None:
    """The new norm has a gain and a shift in any case: without them nothing could be undone."""
    growth = exact(trained(TwoOrders()), {"a": 1, "b": 1}, drawn(BATCH, 4))
    assert growth.student.na[3].affine and not growth.student.na[0].affine
    assert growth.student.nb[3].momentum is None


def test_norms_without_running_statistics_are_refused() -> None:
    """They normalise by the batch in eval mode, too: no gain undoes that."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    teacher = trained(nn.Sequential(nn.Linear(4, 6), norm, nn.ReLU(), nn.Linear(6, 2)))
    with pytest.raises(net2net.GrowthError) as caught:
        net2net.deepen(teacher, {"0": 1}, drawn(BATCH, 4))
    assert not isinstance(caught.value, net2net.VerificationError)


def test_a_default_norm_would_fail_in_train_mode() -> None:
    """The commonest mistake: gain 1 and shift 0 with the statistics 0 and 1 are exact in eval mode, and wrong."""
    teacher = convnet()
    student = exact(teacher, {"0": 1, "3": 1}, images(1)).student
    for norm in norms(student)[1::2]:
        norm.reset_parameters()
        norm.weight.data.fill_((1 + norm.eps) ** 0.5)
    assert error(teacher, student, images(20)) <= 1e-12
    assert error(teacher, student, images(20), train=True) > 0.2
