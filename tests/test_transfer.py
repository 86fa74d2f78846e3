"""A teacher's weights into a bigger network that the user built."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import (
    X,
    mlp,
    refused,
    trained,
    widen_at,
)


def copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


class Literal(nn.Module):
    """A class whose forward has its sizes written into it: only its author can make a bigger one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv1d(2, 6, 3), nn.BatchNorm1d(6), nn.Linear(6 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.conv(x))).reshape(-1, 6 * 4))


class BiggerLiteral(Literal):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv1d(2, 10, 3), nn.BatchNorm1d(10), nn.Linear(10 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.conv(x))).reshape(-1, 10 * 4))


@pytest.mark.parametrize("how", [None, "split", "pair"])
def test_transfer_into_a_class_with_other_sizes_in_its_forward(how: str | None) -> None:
    teacher, student, x = (
        trained(Literal()),
        BiggerLiteral().double(),
        torch.randn(4, 2, 6, dtype=torch.float64),
    )
    with pytest.raises(net2net.CouplingError, match=r"net2net\.transfer"):
        widen_at(teacher, {"conv.weight": 10}, x)
    identities = [id(p) for p in student.parameters()]
    student.train()
    growth = net2net.transfer(teacher, student, x, how=how)
    assert growth.student is student and student.training
    assert [id(p) for p in student.parameters()] == identities  # an optimizer that holds them goes on
    assert torch.allclose(student.eval()(x), teacher(x), rtol=0, atol=1e-12)


def test_transfer_leaves_a_refused_student_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    student = BiggerLiteral().double()
    before, x = copies(student), torch.randn(4, 2, 6, dtype=torch.float64)
    with pytest.raises(net2net.GrowthError):
        net2net.transfer(mlp(), student, x)
    monkeypatch.setattr("net2net.growth._prove.require", _refuse)
    with pytest.raises(net2net.VerificationError):
        net2net.transfer(trained(Literal()), student, x)
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def _refuse(verification: net2net.Verification) -> None:
    raise net2net.VerificationError("as if it had failed")


def network(hidden: int = 8, second: int = 6, activation: type[nn.Module] = nn.ReLU, outputs: int = 2) -> nn.Module:
    layers = [
        nn.Linear(4, hidden),
        activation(),
        nn.Linear(hidden, second),
        nn.ReLU(),
        nn.Linear(second, outputs),
    ]
    return trained(nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("student", "parts"),
    [
        (lambda: network(9, activation=nn.Tanh), ("relu", "tanh")),
        (lambda: nn.Sequential(*network(9)[:3]), ("'4.weight'",)),
        (lambda: network(7), ("'0'", "8", "7")),
        (lambda: network(12, 5), ("'2'", "6", "5")),
        (lambda: network(12, outputs=3), ("output",)),
        (lambda: nn.Sequential(*network(9), nn.ReLU()), ("operations",)),
        (
            lambda: nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 6, bias=False), nn.ReLU(), nn.Linear(6, 2)),
            ("'2.bias'",),
        ),
    ],
    ids=["activation", "shorter", "narrower", "mixed", "outputs", "longer", "no-bias"],
)
def test_a_student_that_does_not_match(student: Callable[[], nn.Module], parts: tuple[str, ...]) -> None:
    built = student().double()
    before = {name: tensor.clone() for name, tensor in built.state_dict().items()}
    refused(net2net.GrowthError, lambda: net2net.transfer(mlp(), built, X), *parts)
    for name, tensor in built.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_a_student_of_the_same_size_gets_the_weights() -> None:
    student = network()
    growth = net2net.transfer(mlp(), student, X)
    assert growth.verification.passed and torch.equal(student[0].weight, mlp()[0].weight)


@pytest.mark.parametrize("options", [{"how": "random_pad"}, {"how": "split", "noise": "paper"}], ids=str)
def test_transfer_of_what_is_not_exact(options: dict[str, str]) -> None:
    student = network(11, 9)
    growth = net2net.transfer(mlp(), student, X, **options)
    assert growth.plan.preserves != "exact" and growth.verification.max_relative_error > 1e-6
    assert torch.equal(student[0].weight[:8], mlp()[0].weight)


def test_transfer_makes_what_widen_makes() -> None:
    for options in ({"how": "split", "seed": 3}, {"how": "zero_out", "seed": 4}):
        widened = net2net.widen(mlp(), {"0": 13, "2": 10}, X, **options).student
        student = net2net.transfer(mlp(), network(13, 10), X, **options).student
        for ours, theirs in zip(student.parameters(), widened.parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_a_student_with_more_inputs_is_told_that_they_are_fixed() -> None:
    student = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 2)).double()
    teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    x = torch.randn(3, 4, dtype=torch.float64)
    refused(net2net.CaptureError, lambda: net2net.transfer(teacher, student, x), "fixed", "net2net.surgery")
