"""A teacher's weights into a bigger network that the user built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


class Normed(nn.Module):
    def __init__(self, width: int, eps: float | None) -> None:
        super().__init__()
        self.norm, self.inner = nn.RMSNorm(width, eps=eps), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.inner(torch.tanh(self.norm(x)))


def normed(width: int, blocks: int = 2, eps: float | None = 1e-2) -> nn.Module:
    """A residual network whose norms have an eps that matters."""
    return nn.Sequential(nn.Linear(4, width), *(Normed(width, eps) for _ in range(blocks)), nn.Linear(width, 3))


@pytest.mark.parametrize("eps", [1e-2, None])
@pytest.mark.parametrize(("width", "blocks"), [(13, 2), (9, 3), (19, 4), (9, 2)])
def test_a_teacher_that_grew_before_has_an_eps_of_its_own(width: int, blocks: int, eps: float | None) -> None:
    """A class knows the eps that it was given, not the one that a growth set: what was grown has to be grown again."""
    teacher = trained(normed(5, eps=eps))
    once = net2net.transfer(teacher, normed(9, eps=eps).double(), X)
    growth = net2net.transfer(once.student, normed(width, blocks, eps).double(), X)
    expected = teacher(X)
    for student in (growth.student, net2net.replay(growth.plan, once.student, X).student):
        assert (student(X) - expected).abs().max() <= 1e-10 * expected.abs().max()


def test_a_student_with_another_eps_gets_the_teachers() -> None:
    teacher, student = trained(normed(5)), normed(5, eps=3e-2).double()
    plan = net2net.transfer(teacher, student, X).plan
    assert student[1].norm.eps == 1e-2 and plan.attributes["1.norm"] == {"eps": 1e-2}
    assert (student(X) - teacher(X)).abs().max() <= 1e-10 * teacher(X).abs().max()


def test_a_config_says_the_eps_that_a_growth_set(tmp_path: Path) -> None:
    """`save_pretrained` saves the config and no attributes: twice, and deeper, what is loaded is what was grown."""
    transformers = pytest.importorskip("transformers")

    def llama(hidden: int, layers: int = 1) -> Any:
        config = transformers.LlamaConfig(
            vocab_size=31, hidden_size=hidden, intermediate_size=hidden + 3, num_hidden_layers=layers,
            num_attention_heads=hidden // 4, num_key_value_heads=hidden // 4, rms_norm_eps=1e-2,
        )  # fmt: skip
        return transformers.LlamaForCausalLM(config).eval()

    teacher, ids = trained(llama(8)).float(), torch.arange(10).reshape(2, 5)
    expected, model = teacher(ids).logits, teacher
    for student in (llama(12), llama(20), llama(20, 2)):
        net2net.transfer(model, student, {"input_ids": ids})
        student.save_pretrained(tmp_path)
        model = type(student).from_pretrained(tmp_path).eval()
        assert (model(ids).logits - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert model.config.rms_norm_eps == pytest.approx(1e-2 * 8 / 20)
