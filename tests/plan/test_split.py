"""Copies of units: the formulas of the Net2Net paper, entry by entry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support import (
    counts_of,
    drawn_uniformly,
    groups_of_copies,
    repeatable,
    same,
    source_of,
    trained,
    widen_at,
)

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

EVEN = {"how": "split", "shares": "even"}
N = 7  # units of the layer that grows
SIZES = [N + 1, 2 * N - 1, 3 * N, 10 * N]


@repeatable
def mlp() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, N), nn.Tanh(), nn.Linear(N, 5), nn.GELU(), nn.Linear(5, 3)))


def vectors() -> Tensor:
    return torch.randn(6, 4, dtype=torch.float64)


@pytest.mark.parametrize("size", SIZES)
def test_a_linear_layer_follows_the_paper(size: int) -> None:
    teacher = mlp()
    growth = widen_at(teacher, {"0.weight": size}, vectors(), **EVEN)
    old, new, g = teacher.state_dict(), growth.student.state_dict(), source_of(growth, "0.weight")
    assert len(g) == size and (g[:N] == np.arange(N)).all() and g.max() < N
    assert torch.equal(new["0.weight"], old["0.weight"][g])
    assert torch.equal(new["0.bias"], old["0.bias"][g])
    assert same(new["2.weight"], old["2.weight"][:, g] / counts_of(g))
    for name in ("2.bias", "4.weight", "4.bias"):
        assert torch.equal(new[name], old[name])
    assert growth.verification.max_relative_error < 1e-12


def test_the_plan_says_which_unit_each_new_one_copies() -> None:
    growth = widen_at(mlp(), {"0.weight": 12}, vectors(), **EVEN)
    (widening,) = growth.plan.widenings
    assert (widening.before, widening.after, widening.how) == (N, 12, "split")
    assert (widening.units.source == source_of(growth, "0.weight")).all()


def test_the_draw_is_seeded_and_uniform() -> None:
    def drawn(size: int, seed: int) -> np.ndarray:
        return source_of(widen_at(mlp(), {"0.weight": size}, vectors(), seed=seed, **EVEN), "0.weight")

    assert (drawn(40, seed=1) == drawn(40, seed=1)).all()
    assert (drawn(40, seed=1) != drawn(40, seed=2)).any()
    assert drawn_uniformly(drawn(300 * N, seed=3), N)


@pytest.mark.parametrize("size", SIZES)
def test_uneven_shares_sum_to_one_and_differ(size: int) -> None:
    growth = widen_at(mlp(), {"0.weight": size}, vectors(), how="split", shares="uneven")
    taken = growth.plan.tensors["2.weight"].axes[1]
    assert taken is not None and taken.factor is not None
    sums = np.bincount(taken.source, weights=taken.factor)
    assert np.allclose(sums, 1.0, rtol=0, atol=1e-14)
    assert growth.plan.tensors["0.bias"].axes[0].factor is None  # type: ignore[union-attr]
    for group in groups_of_copies(taken.source):
        assert len(np.unique(taken.factor[group])) == len(group)
    assert growth.verification.max_relative_error < 1e-12


def everywhere(conv: type[nn.Module], norm: type[nn.Module], **options: object) -> nn.Module:
    layers = [
        conv(2, 5, 3, bias=True, **options),
        norm(5),
        nn.ReLU(),
        conv(5, 4, 2),
        nn.SiLU(),
        conv(4, 3, 1),
    ]
    return trained(nn.Sequential(*layers))


@pytest.mark.parametrize(
    ("conv", "norm", "options", "shape"),
    [
        (nn.Conv1d, nn.BatchNorm1d, {"stride": 2}, (3, 2, 17)),
        (nn.Conv2d, nn.BatchNorm2d, {"padding": (1, 2), "padding_mode": "circular"}, (3, 2, 8, 9)),
        (nn.Conv2d, nn.BatchNorm2d, {"dilation": 2}, (3, 2, 9, 9)),
        (nn.Conv3d, nn.BatchNorm3d, {"padding": 1}, (2, 2, 4, 5, 4)),
    ],
    ids=["1d", "2d-padded", "2d-dilated", "3d"],
)
def test_convolutions_are_indexed_on_both_sides(
    conv: type[nn.Module], norm: type[nn.Module], options: dict[str, object], shape: tuple[int, ...]
) -> None:
    teacher, x = everywhere(conv, norm, **options), torch.randn(shape, dtype=torch.float64)
    growth = widen_at(teacher, {"0.weight": 9, "3.weight": 11}, x, **EVEN)
    old, new = teacher.state_dict(), growth.student.state_dict()
    g, h = source_of(growth, "0.weight"), source_of(growth, "3.weight")
    columns = (1, -1) + (1,) * (len(shape) - 2)
    assert torch.equal(new["0.weight"], old["0.weight"][g])
    assert same(new["3.weight"], old["3.weight"][h][:, g] / counts_of(g).reshape(columns))
    assert torch.equal(new["3.bias"], old["3.bias"][h])
    assert same(new["5.weight"], old["5.weight"][:, h] / counts_of(h).reshape(columns))
    assert torch.equal(new["5.bias"], old["5.bias"])


def test_a_flattened_convolution_repeats_whole_blocks() -> None:
    teacher = trained(nn.Sequential(nn.Conv2d(2, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(5 * 6, 3)))
    growth = widen_at(teacher, {"0.weight": 8}, torch.randn(4, 2, 8, 6, dtype=torch.float64), **EVEN)
    g, counts, old = (
        source_of(growth, "0.weight"),
        counts_of(source_of(growth, "0.weight")),
        teacher[4].weight,
    )
    new = growth.student[4].weight
    for place, unit in enumerate(g):
        block = old[:, unit * 6 : (unit + 1) * 6] / counts[place]
        assert same(new[:, place * 6 : (place + 1) * 6], block)
    assert growth.student[4].in_features == 8 * 6


class Inception(nn.Module):
    """Four branches of unequal width and one that only pools; two layers read their concatenation."""

    widths = (3, 6, 4, 5)

    def __init__(self, stem: int = 4) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, stem, 3, padding=1)
        self.branches = nn.ModuleList(
            nn.Conv2d(stem, w, k, padding=k // 2) for w, k in zip(self.widths, (1, 3, 5, 1), strict=True)
        )
        self.norm = nn.BatchNorm2d(sum(self.widths) + stem)
        self.first = nn.Conv2d(sum(self.widths) + stem, 3, 1)
        self.second = nn.Conv2d(sum(self.widths) + stem, 2, 3, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.stem(x))
        parts = [branch(x) for branch in self.branches]
        x = F.relu(self.norm(torch.cat([*parts, F.max_pool2d(x, 3, 1, 1)], 1)))
        return self.first(x), self.second(x)


def test_a_concatenation_offsets_values_by_old_and_places_by_new_widths() -> None:
    teacher, x = trained(Inception()), torch.randn(3, 2, 6, 6, dtype=torch.float64)
    after = {f"branches.{b}.weight": 2 * w + 1 for b, w in enumerate(teacher.widths)}
    growth = widen_at(teacher, {**after, "stem.weight": 7}, x, **EVEN)
    maps = [source_of(growth, name) for name in (*after, "stem.weight")]
    old, new = [*teacher.widths, 4], [*after.values(), 7]
    concatenated = np.zeros(sum(new), dtype=np.int64)  # the paper's formula, written out
    for j in range(sum(new)):
        branch = next(b for b in range(5) if j < sum(new[: b + 1]))
        concatenated[j] = maps[branch][j - sum(new[:branch])] + sum(old[:branch])
    for consumer in ("first.weight", "second.weight"):
        assert (source_of(growth, consumer, 1) == concatenated).all()
    assert (source_of(growth, "norm.running_var") == concatenated).all()
    was, now = teacher.state_dict(), growth.student.state_dict()
    shares = counts_of(concatenated).reshape(1, -1, 1, 1)
    for name in ("first.weight", "second.weight"):
        assert same(now[name], was[name][:, concatenated] / shares)
    assert growth.verification.max_relative_error < 1e-12


def test_batch_norm_follows_the_units_and_is_exact_in_both_modes() -> None:
    teacher, x = everywhere(nn.Conv2d, nn.BatchNorm2d), torch.randn(5, 2, 7, 7, dtype=torch.float64)
    growth = widen_at(teacher, {"0.weight": 12}, x, **EVEN)
    g = source_of(growth, "0.weight")
    for name in ("weight", "bias", "running_mean", "running_var"):
        assert torch.equal(growth.student.state_dict()[f"1.{name}"], teacher.state_dict()[f"1.{name}"][g])
    modes = {key.split("/")[0] for key in growth.verification.errors}
    assert modes == {"eval", "train"} and growth.verification.max_relative_error < 1e-12
    teacher.train(), growth.student.train()  # once more, without the library's own verification
    assert same(growth.student(x), teacher(x))
    assert same(growth.student[1].running_var, teacher[1].running_var[g])


@pytest.mark.parametrize("shares", ["even", "uneven"])
def test_all_at_once_is_one_by_one(shares: str) -> None:
    x = torch.randn(3, 2, 6, 6, dtype=torch.float64)
    sizes = {"stem.weight": 9, "branches.1.weight": 11, "branches.3.weight": 6}
    teacher = trained(Inception())
    at_once = widen_at(teacher, sizes, x, how="split", shares=shares).student
    one_by_one = teacher
    for place, size in sizes.items():
        one_by_one = widen_at(one_by_one, {place: size}, x, how="split", shares=shares).student
    for (name, ours), theirs in zip(at_once.state_dict().items(), one_by_one.state_dict().values(), strict=True):
        assert same(ours.double(), theirs.double(), 1e-14), name
