"""New experts with units that are drawn anew: what is drawn, what stays, and that it's labelled as not preserving."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import net2net
from mixtures import FORMS, HIDDEN, Rule, network, tokens
from net2net.apply import grow_one
from net2net.moe import MixtureOfExperts


def experts_of(model: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The first and the last matrix of every expert."""
    experts = model[1].experts
    if isinstance(experts, nn.ModuleList):
        replicas = [r for e in experts for r in getattr(e, "replicas", [e])]
        return [(e[0].weight.detach(), e[2].weight.detach()) for e in replicas]
    experts = getattr(experts, "experts", experts)
    return list(zip(experts.up.detach(), experts.down.detach(), strict=True))


@pytest.mark.parametrize(("form", "routing"), [("stacked", "free"), ("list", "replica")])
def test_the_same_units_are_drawn_anew_in_all_matrices_of_a_new_expert(form: str, routing: str) -> None:
    teacher = network(form, Rule(), 3, 2)
    growth = net2net.upcycle(teacher, [2, 1, 3], tokens(), routing=routing, redrawn=0.4)
    drawn = []
    old, new = experts_of(teacher), experts_of(growth.student)
    for k, source in enumerate([0, 0, 1, 2, 2, 2]):
        ups, downs = ((a != b) for a, b in zip(new[k], old[source], strict=True))
        units = ups.any(1)
        assert torch.equal(units, ups.all(1))
        assert torch.equal(units, downs.any(0)) and torch.equal(units, downs.all(0))
        assert int(units.sum()) == (round(0.4 * HIDDEN) if k in (1, 4, 5) else 0)
        drawn.append(tuple(units.tolist()))
    assert len({drawn[k] for k in (1, 4, 5)}) > 1  # each its own
    ratio = float(torch.cat([a.flatten() for a, _ in new]).std() / torch.cat([a.flatten() for a, _ in old]).std())
    assert 0.8 < ratio < 1.25


def test_it_is_labelled_as_not_preserving_in_plan_and_report(tmp_path: Path) -> None:
    teacher = network("stacked", Rule(), 4, 2)
    for options, words in (({"redrawn": 0.5}, "50% of the"), ({"redrawn": 1.0, "routing": "free"}, "100% of the")):
        growth = net2net.upcycle(teacher, "2x", tokens(), **options)
        assert growth.plan.preserves == growth.verification.preserves == "none"
        assert growth.plan.changes[0].preserves == "none" and growth.plan.changes[0].summary()["redrawn"] > 0
        assert growth.verification.max_relative_error > 0.01
        text = str(growth)
        assert "NOT function-preserving" in text and f"{words} hidden units of new experts are drawn anew" in text
    growth.plan.save(tmp_path / "plan")
    plan = net2net.Plan.load(tmp_path / "plan")
    assert str(plan) == str(growth.plan) and plan.tensors == growth.plan.tensors
    again = net2net.replay(plan, teacher, tokens()).student
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), growth.student.parameters(), strict=True))


def test_random_experts_have_random_rows_in_the_router_and_the_old_ones_stay() -> None:
    teacher = network("stacked", Rule("sigmoid", bias=True), 4, 2)
    student = net2net.upcycle(teacher, 6, tokens(), routing="free", redrawn=1.0, noise=0.0).student
    stay, new = [0, 2, 4, 5], [1, 3]  # counts 2 2 1 1
    for mine, theirs in (
        (student[1].gate.weight, teacher[1].gate.weight),
        (student[1].experts.up, teacher[1].experts.up),
        (student[1].experts.down, teacher[1].experts.down),
    ):
        assert torch.equal(mine[stay], theirs)
        assert not (mine[new] == theirs[:2]).any()
    assert torch.equal(student[1].experts.up_bias[new], teacher[1].experts.up_bias[:2])
    assert torch.equal(student[1].gate.correction[new], teacher[1].gate.correction[:2])


def test_the_optimizer_knows_what_is_new() -> None:
    teacher = network("stacked", Rule(), 4, 2)
    optimizer = torch.optim.AdamW(teacher.parameters())
    teacher(tokens()).square().mean().backward()
    optimizer.step()
    growth = net2net.upcycle(teacher, "2x", tokens(), redrawn=0.5)
    new = growth.optimizer(optimizer)
    up = growth.student[1].experts.experts.up
    drawn = torch.from_numpy(growth.plan.tensors["1.experts.experts.up"].redrawn).expand(up.shape)
    assert drawn.any() and not new.state[up]["exp_avg"][drawn].any()
    assert new.state[up]["exp_avg"][~drawn].any() and bool((new.state[up]["exp_avg_sq"][drawn] > 0).all())
    assert torch.equal(grow_one(growth.plan, "1.experts.experts.up", dict(teacher.state_dict())), up.detach())


def test_large_tensors_are_drawn_in_pieces() -> None:
    teacher = nn.Sequential(nn.Linear(4, 128), MixtureOfExperts(128, 1024, 6, 2, gated=False))
    student = net2net.upcycle(teacher, "2x", torch.randn(5, 4), routing="free", redrawn=1.0).student
    up, old = student[1].experts.up.detach(), teacher[1].experts.up.detach()
    assert torch.equal(up[0::2], old) and not (up[1::2] == old).flatten(1).all(1).any()
    assert 0.9 < float(up[1::2].std() / old.std()) < 1.1


def test_experts_of_a_dense_network_each_lose_units_of_their_own() -> None:
    dense = nn.Sequential(
        nn.Linear(3, 8), nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Linear(12, 8)), nn.Linear(8, 2)
    ).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    growth = net2net.upcycle(dense, 4, x, top_k=2, granularity=2, redrawn=0.5)
    assert growth.plan.preserves == "none" and "50% of the hidden units of each expert" in str(growth)
    plain = net2net.upcycle(dense, 4, x, top_k=2, granularity=2).student[1].experts
    mine = growth.student[1].experts
    units = (mine.up != plain.up).all(2)
    assert units.sum(1).tolist() == [3] * 4 and len({tuple(row) for row in units.tolist()}) > 1
    assert torch.equal((mine.down != plain.down).all(1), units)
    assert 0.6 < float(mine.down.std() / plain.down.std()) < 1.6  # copies of the last product are doubled here


def test_refusals() -> None:
    teacher = network("stacked", Rule(), 4, 2)
    for options, message in (
        ({"redrawn": 1.5}, "redrawn=1.5 is no share"),
        ({"redrawn": True}, "is no share"),
        ({"redrawn": 0.5, "routing": "raise_k"}, "Use routing='free' or 'replica'"),
        ({"redrawn": 1.0, "top_k": 2}, "nothing of the feed-forwards"),
    ):
        with pytest.raises(net2net.OptionError, match=message):
            net2net.upcycle(teacher, "2x", tokens(), **options)

    class Loud(nn.Module):
        """A mixture that can't be captured, so that its hidden units aren't found."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = FORMS["stacked"](Rule(), 4, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) * (1.0 if float(x.sum()) > 0 else 2.0)

    x = torch.randn(20, 6, dtype=torch.float64)
    with pytest.raises(net2net.OptionError, match="hidden units of experts aren't found"):
        net2net.upcycle(Loud(), "2x", x, redrawn=0.5)
    assert net2net.upcycle(Loud(), "2x", x, redrawn=1.0).plan.preserves == "none"
