"""The proof itself: what it measures, what it must not disturb."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import (
    X,
    mlp,
    trained,
)


def test_an_error_that_cancels_in_a_sum_is_caught() -> None:
    """A check of the summed difference, as some published code has it, calls this student exact."""
    teacher, student = (trained(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))) for _ in range(2))
    student.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        student[2].bias += torch.tensor([0.1, -0.1], dtype=torch.float64)
    assert abs((student(X) - teacher(X)).sum().item()) < 1e-12
    report = net2net.verify(teacher, student, X)
    assert not report.passed and report.max_relative_error > 0.01 and report.departs == "2"


def test_constant_inputs_would_hide_what_random_ones_show() -> None:
    """All inputs given here are equal, so that permuted channels look right; verification adds its own."""
    teacher = trained(nn.Sequential(nn.Linear(4, 3)))
    student = trained(nn.Sequential(nn.Linear(4, 3)))
    student.load_state_dict(teacher.state_dict())
    with torch.no_grad():
        student[0].weight.copy_(teacher[0].weight.flip(1))
    report = net2net.verify(teacher, student, torch.ones(2, 4, dtype=torch.float64))
    assert report.errors["eval/given/output"] < 1e-12 and report.errors["eval/random/output"] > 0.01
    assert not report.passed


def test_neither_network_is_changed_in_any_dtype() -> None:
    """Verification takes training steps to see what is alive: on copies, even where no dtype is converted."""
    for dtype in (torch.float64, torch.float32):
        teacher = mlp().to(dtype).train()
        state, draws = {k: v.clone() for k, v in teacher.state_dict().items()}, torch.get_rng_state()
        student = net2net.widen(teacher, {"0": 12}, X.to(dtype)).student
        grown = {k: v.clone() for k, v in student.state_dict().items()}
        assert net2net.verify(teacher, student, X.to(dtype)).passed
        for model, before in ((teacher, state), (student, grown)):
            assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
            assert model.training and all(p.grad is None for p in model.parameters())
        assert torch.equal(student[0].weight[:8], teacher[0].weight)
        assert torch.equal(torch.get_rng_state(), draws)


def test_batch_norm_is_compared_in_train_mode_with_dropout_off() -> None:
    def network() -> nn.Module:
        return trained(nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2)))

    teacher, student = network(), network()
    student.load_state_dict(teacher.state_dict())
    assert net2net.verify(teacher, student, X).passed
    with torch.no_grad():  # right by the stored statistics, twice too large by those of a batch
        student[1].weight *= 2.0
        student[1].running_var.mul_(4.0).add_(3.0 * student[1].eps)
    errors = net2net.verify(teacher, student, X).errors
    assert errors["eval/given/output"] < 1e-10 and errors["train/given/output"] > 0.1


class Nan(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda net: nn.Sequential(*net[:-1]),
        lambda net: nn.Sequential(*net, nn.Unflatten(1, (1, 2))),
        lambda net: nn.Sequential(*net, Nan()),
    ],
    ids=["fewer", "shape", "nan"],
)
def test_what_cannot_be_compared_has_not_passed(spoil: Callable[[nn.Sequential], nn.Module]) -> None:
    report = net2net.verify(mlp(), spoil(mlp()), X)
    assert not report.passed and report.max_relative_error == float("inf")


def test_the_first_module_that_departs_is_named() -> None:
    teacher, student = mlp(), mlp()
    with torch.no_grad():
        student[2].weight[0, 0] += 1e-3
    report = net2net.verify(teacher, student, X)
    assert not report.passed and report.departs == "2"
    assert "FAILED" in str(report) and "diverges: 2" in str(report)


def test_the_tolerance_follows_the_dtype() -> None:
    tolerances = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        model = mlp().to(dtype)
        tolerances.append(net2net.verify(model, model, X.to(dtype)).tolerance)
    assert tolerances == sorted(set(tolerances)) and tolerances[0] <= 1e-10


@pytest.mark.filterwarnings("ignore:all parameters are frozen")
def test_liveness_that_cannot_be_measured_is_said_so() -> None:
    growth = net2net.widen(mlp().requires_grad_(False), {"0": 12}, X)
    assert growth.verification.passed
    assert growth.verification.dead in (None, ())
    assert not any(p.requires_grad for p in growth.student.parameters())


class Casting(nn.Module):
    """Runs in float32 only: that is written into its forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x.float())))


def test_what_does_not_run_in_float64_is_compared_in_its_own_dtype() -> None:
    growth = net2net.widen(trained(Casting(), torch.float32), {"first": 12}, X.float(), how="split")
    assert growth.verification.dtype == "float32" and growth.verification.tolerance == 1e-5
    assert 0 < growth.verification.max_relative_error <= 1e-5


class Logarithm(nn.Module):
    """Not a number for negative inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x.log())))


def test_random_inputs_outside_the_domain_are_left_out() -> None:
    growth = net2net.widen(trained(Logarithm()), {"first": 12}, X.abs())
    assert growth.verification.passed and not any("normal" in key for key in growth.verification.errors)
    assert "no finite output" in " ".join(growth.verification.notes)
    assert not net2net.verify(trained(Logarithm()), trained(Logarithm()), -X.abs()).passed
