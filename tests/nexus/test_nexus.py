"""Nexus layers grow inside: lossless, alive, again and again; norms over what grows, in every usual spelling."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from net2net.nexus import NexusAttention, NexusConfig, NexusLinear, NexusLM, Pattention
from net2net.nexus._linear import Norm

IDS = torch.arange(24).reshape(3, 8) * 7 % 50
CONFIG = NexusConfig(vocabulary=50, width=16, heads=4, layers=2, M=12, A=20, kv_heads=2)


def error(teacher: nn.Module, student: nn.Module, *inputs: Tensor) -> float:
    with torch.no_grad():
        a, b = teacher(*inputs), student(*inputs)
    return float((a - b).abs().max() / a.abs().max())


def model(dtype: torch.dtype = torch.float64, **sizes: object) -> NexusLM:
    torch.manual_seed(0)
    return NexusLM(NexusConfig(**{**vars(CONFIG), **sizes})).to(dtype)  # type: ignore[arg-type] - sizes by name


def moved(student: nn.Module, before: dict[str, Tensor], teacher: dict[str, Tensor]) -> list[str]:
    """Grown tensors of which some new block is as it was."""
    still = []
    for name, now in student.named_parameters():
        old, start = teacher[name].shape, before[name]
        if old == now.shape:
            continue
        for axis, size in enumerate(old):
            if now.shape[axis] > size:
                new = [t.narrow(axis, size, now.shape[axis] - size) for t in (now, start)]
                still += [name] if torch.equal(*new) else []
    return still


@pytest.mark.thin(5)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 5e-2)]
)
@pytest.mark.parametrize("norm", ["l2_fixed", None])
@pytest.mark.parametrize(
    "sizes",
    [{"blocks.*.first": 17}, {"blocks.*.second": "1.5x"}, {"blocks.*.first": 23, "blocks.*.second": 39}],
    ids=["M", "A", "both"],
)
def test_growth_is_lossless_and_alive(
    dtype: torch.dtype, tolerance: float, norm: str | None, sizes: dict[str, int | float | str]
) -> None:
    teacher = model(dtype, norm=norm)
    growth = net2net.widen(teacher, sizes, IDS)
    assert error(teacher, growth.student, IDS) <= tolerance and error(teacher, growth.student, IDS[:1, :3]) <= tolerance
    assert growth.verification.dead == ()
    assert {w.how for w in growth.plan.widenings} == {"zero_in" if norm else "zero_out"}
    if dtype == torch.bfloat16:
        return
    student, start = growth.student, {n: p.detach().clone() for n, p in growth.student.named_parameters()}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(student(IDS)[:, :-1].flatten(0, 1), IDS[:, 1:].flatten()).backward()
        optimizer.step()
    assert moved(student, start, dict(teacher.named_parameters())) == []


def test_three_growths_in_a_row() -> None:
    teacher = student = model()
    for m, a in ((17, 29), (18, 40), (36, 41)):
        student = net2net.widen(student, {"blocks.*.first": m, "blocks.*.second": a}, IDS).student  # type: ignore[assignment]
    assert error(teacher, student, IDS) <= 1e-10
    assert (student.blocks[1].feed_forward.first.out_features, student.generate(IDS, 3).shape) == (36, (3, 11))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_three_growths_in_a_row_round_as_the_teacher_does(dtype: torch.dtype) -> None:
    torch.manual_seed(6)
    teacher = student = NexusLinear(8, 12, 20).to(dtype)
    x = torch.randn(40, 8, dtype=dtype)
    own = (copy.deepcopy(teacher).double()(x.double()) - teacher(x)).abs().max()  # the teacher's own rounding
    for m, a in ((17, 29), (18, 40), (36, 41)):
        student = net2net.widen(student, {"first": m, "second": a}, x).student
    assert (student(x).double() - teacher(x)).abs().max() <= 2 * own


@pytest.mark.parametrize("norm", ["l2_fixed", None])
def test_zeros_on_both_sides_are_reported_dead(norm: Norm) -> None:
    torch.manual_seed(5)
    teacher, x = NexusLinear(8, 12, 20, norm=norm), torch.randn(4, 8)
    with pytest.warns(net2net.Net2NetWarning, match="no gradient reaches the new entries"):
        growth = net2net.widen(teacher, {"first": 17, "second": 31}, x, how="all_zero")
    assert growth.verification.passed and "no, no gradient reaches the new entries" in str(growth)
    assert set(growth.verification.dead or ()) == {"first.weight", "second.weight", "third.weight"}
    student = growth.student
    assert not any(
        t.any() for t in (student.first.weight[12:], student.second.weight[20:], student.third.weight[:, 20:])
    )
    assert not student.second.weight[:, 12:].any()


def test_zeros_on_the_way_out_are_refused_behind_the_norm() -> None:
    with pytest.raises(net2net.FixedDimensionError, match="zero_in"):
        net2net.widen(NexusLinear(8, 12, 20), {"first": 17}, torch.randn(4, 8), how="zero_out")


def test_the_student_is_saved_and_generates_with_its_cache(tmp_path: Path) -> None:
    teacher = model(torch.float32)
    student = net2net.widen(teacher, {"blocks.*.first": 17}, IDS).student
    assert isinstance(student, NexusLM)
    student.save_pretrained(tmp_path)
    again = NexusLM.from_pretrained(tmp_path)
    assert again.config.M == 17 and torch.equal(again(IDS), student(IDS))
    ids = IDS[:1]
    for _ in range(4):  # without a cache
        ids = torch.cat([ids, student(ids)[:, -1:].argmax(-1)], 1)
    assert torch.equal(student.generate(IDS[:1], 4), ids)
    assert torch.equal(teacher.generate(IDS[:1], 4), ids)


def test_attention_is_causal_and_grows() -> None:
    torch.manual_seed(1)
    teacher, x = NexusAttention(16, 4, 20, 28, kv_heads=2).double(), torch.randn(2, 5, 16, dtype=torch.float64)
    growth = net2net.widen(teacher, {"query.first": 31, "value.second": 29, "output.first": 21}, x)
    assert error(teacher, growth.student, x) <= 1e-10
    later = x.clone()
    later[:, 3:] += 1.0
    assert torch.equal(growth.student(x)[:, :3], growth.student(later)[:, :3])


@pytest.mark.parametrize("normalisation", ["gelu_l2", "l2_gelu"])
def test_more_tokens(normalisation: str) -> None:
    torch.manual_seed(2)
    teacher = Pattention(8, 16, 5, normalisation).double()  # type: ignore[arg-type] - both names are known
    x = torch.randn(6, 8, dtype=torch.float64)
    growth = net2net.widen(teacher, {"keys": 25}, x)
    assert error(teacher, growth.student, x) <= 1e-10 and growth.student.scale == 4.0
    assert growth.verification.dead == ()


class TokenFormer(Pattention):
    """As published: the scale is the root of how many tokens there are."""

    def _normed(self, scores: Tensor) -> Tensor:
        return F.normalize(scores, dim=-1) * scores.shape[-1] ** 0.5


def test_a_scale_that_counts_tokens_is_made_up_for_or_refused() -> None:
    torch.manual_seed(3)
    teacher, x = TokenFormer(8, 16, 5, "l2_gelu").double(), torch.randn(6, 8, dtype=torch.float64)
    growth = net2net.widen(teacher, {"keys": 25}, x)  # the values take the factor
    assert error(teacher, growth.student, x) <= 1e-10
    with pytest.raises(
        net2net.GrowthError, match="computed from a size"
    ):  # a GELU stands between, which lets no factor pass
        net2net.widen(TokenFormer(8, 16, 5).double(), {"keys": 25}, x)


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda u: u / (u.norm(dim=-1, keepdim=True) + 1e-5),
    "normalize": lambda u: F.normalize(u, dim=-1),
    "square, sum, rsqrt": lambda u: u * torch.rsqrt((u * u).sum(-1, keepdim=True) + 1e-6),
    "pow, sum, rsqrt": lambda u: u * torch.rsqrt(u.pow(2).sum(-1, keepdim=True) + 1e-6),
    "einsum": lambda u: u / torch.einsum("bi,bi->b", u, u).sqrt().unsqueeze(-1).clamp_min(1e-6),
    "linalg": lambda u: u / torch.linalg.vector_norm(u, dim=-1, keepdim=True),
    "rms with a fixed divisor": lambda u: u / (u.square().sum(-1, keepdim=True) / 7.0 + 1e-6).sqrt(),
}


class Normed(nn.Module):
    """A hidden layer brought to norm 1."""

    def __init__(self, spelling: str) -> None:
        super().__init__()
        self.a, self.b, self.spelling = nn.Linear(5, 7), nn.Linear(7, 3), spelling

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.b(SPELLINGS[self.spelling](torch.tanh(self.a(x))))
        return result


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_norm_over_what_grows(spelling: str) -> None:
    torch.manual_seed(4)
    teacher, x = Normed(spelling).double(), torch.randn(6, 5, dtype=torch.float64)
    growth = net2net.widen(teacher, {"a": 13}, x)
    assert error(teacher, growth.student, x) <= 1e-10
    assert growth.plan.widenings[0].how == "zero_in" and growth.verification.dead == ()
    assert not growth.student.a.weight[7:].any() and growth.student.b.weight[:, 7:].all()
    with pytest.raises(net2net.GrowthError, match="counts every unit"):
        net2net.widen(teacher, {"a": 13}, x, how="zero_out")
