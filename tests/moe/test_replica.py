"""Replica routing: exact for every gate, K and counts; replicas part, and all of them get tokens."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import net2net
from mixtures import FORMS, RULES, Rule, network, tokens
from net2net.moe import MixtureOfExperts, ReplicaExperts, ReplicaRouting, mixtures


def error(a: nn.Module, b: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / a(x).abs().max())


FORMS_AND_K = [*(("stacked", k) for k in (1, 2, 4, 8)), ("list", 2)]
# Groups that are left out leave four of eight experts to choose from.
GATES = [(form, rule, k) for form, k in FORMS_AND_K for rule in RULES if not (rule.groups and k > 4)]


@pytest.mark.thin(4)
@pytest.mark.parametrize(("form", "rule", "top_k"), GATES, ids=str)
def test_every_gate_is_exact(form: str, rule: Rule, top_k: int) -> None:
    teacher = network(form, rule, 8, top_k)
    growth = net2net.upcycle(teacher, [3, 1, 2, 2, 1, 4, 1, 2], tokens())
    assert growth.verification.passed and growth.verification.exact_in == ("eval", "train")
    for mode in (True, False):
        assert error(teacher.train(mode), growth.student.train(mode), tokens()) <= 1e-10


@settings(max_examples=8, deadline=None)
@given(
    form=st.sampled_from(list(FORMS)),
    rule=st.sampled_from([r for r in RULES if not r.groups]),
    counts=st.lists(st.integers(1, 4), min_size=2, max_size=7).filter(lambda c: sum(c) > len(c)),
    top_k=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_any_counts_are_exact(form: str, rule: Rule, counts: list[int], top_k: int, seed: int) -> None:
    torch.manual_seed(seed)
    teacher = network(form, rule, len(counts), min(top_k, len(counts)))
    student = net2net.upcycle(teacher, counts, tokens(), seed=seed).student
    assert error(teacher, student, torch.randn(50, 4, dtype=torch.float64)) <= 1e-10
    assert mixtures(student, tokens()).found["1.experts"].size == sum(counts)


@pytest.mark.thin(3)
@pytest.mark.parametrize("factor", [1.5, 2, 3, "2x", 11])
@pytest.mark.parametrize("form", FORMS)
def test_sizes(form: str, factor: float | str) -> None:
    teacher = network(form, Rule(), 6, 2, torch.float32)
    growth = net2net.upcycle(teacher, float(factor) if factor in (2, 3) else factor, tokens(torch.float32))
    (step,) = growth.plan.changes
    assert step.row()[1:3] == (6, {1.5: 9, 2: 12, 3: 18, "2x": 12, 11: 11}[factor])
    assert error(teacher, growth.student, tokens(torch.float32)) <= 1e-5


def test_the_compute_of_a_token_stays() -> None:
    teacher = network("stacked", Rule(), 6, 2)
    student = net2net.upcycle(teacher, 2.0, tokens()).student
    calls: list[torch.Tensor] = []
    student[1].experts.experts.register_forward_pre_hook(lambda _, args: calls.append(args[1]))
    student(tokens())
    assert calls[0].shape == (48, 2)


@pytest.mark.parametrize("form", FORMS)
def test_replicas_part_and_each_has_tokens(form: str) -> None:
    teacher = network(form, Rule("sigmoid"), 4, 2, torch.float32)
    x = torch.randn(128, 4)
    y = torch.stack([x.prod(1), x.sum(1).sin(), x[:, 0] * x[:, 1]], 1)
    student = net2net.upcycle(teacher, [3, 2, 2, 2], x).student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.mse_loss(student(x), y).backward()
        optimizer.step()
        net2net.balance_experts(student)
    routings = [m for m in student.modules() if isinstance(m, ReplicaRouting)]
    assert sum(len(r.total) for r in routings) == 9
    assert all(int(r.total.min()) > 0 for r in routings)
    assert all(int(r.load.sum()) == 0 for r in routings)
    if form == "stacked":
        experts = student[1].experts.experts.up.detach().flatten(1)
    else:
        parts = mixtures(student, x).found["1.experts"].members
        experts = torch.stack([student.get_submodule(p)[0].weight.detach().flatten() for p in parts])
    gaps = torch.cdist(experts, experts) + torch.eye(9)
    assert float(gaps.min()) > 1e-3


def test_tokens_are_shared_out_from_the_first_step_though_they_have_much_in_common() -> None:
    teacher = network("stacked", Rule(), 4, 2)
    with torch.no_grad():
        teacher[0].bias += 5.0
    x = torch.randn(500, 4, dtype=torch.float64)
    student = net2net.upcycle(teacher, 2.0, x[:200]).student.train()
    student(x[200:])
    loads = student[1].experts.routing.load.reshape(4, 2).double()
    used = loads.sum(1) > 20
    assert used.sum() >= 2
    assert float((loads.min(1).values / loads.sum(1))[used].min()) > 0.15


def test_the_second_map_learns_and_changes_no_weight() -> None:
    teacher = network("stacked", Rule(), 4, 2)
    student = net2net.upcycle(teacher, 2.0, tokens()).student
    with torch.no_grad():
        student[1].experts.experts.down[::2] *= 1.1
    student(tokens()).square().sum().backward()
    assert float(student[1].experts.routing.weight.grad.abs().max()) > 0
    routing = ReplicaRouting([2, 1], 4)
    with torch.no_grad():
        routing.weight *= 1e4  # the loser's share underflows
        _, factors = routing(torch.randn(9, 4), torch.tensor([[0, 1]] * 9))
    assert bool((factors == 1).all())


def test_balancing_moves_tokens_to_the_replica_that_has_few() -> None:
    routing = ReplicaRouting([2, 1], 4)
    with torch.no_grad():
        routing.weight.copy_(torch.tensor([[0.05] * 4, [0.0] * 4, [0.0] * 4]))
    x, chosen = torch.ones(10, 4), torch.zeros(10, 1, dtype=torch.long)
    shares = []
    for _ in range(30):
        replicas, _ = routing(x, chosen)
        shares.append(int((replicas == 0).sum()))
        net2net.balance_experts(routing)
    assert shares[0] == 10 and 0 in shares
    routing.eval()(x, chosen)
    assert int(routing.load.sum()) == 0  # counted in training only
    with pytest.raises(net2net.OptionError, match="no replica routing"):
        net2net.balance_experts(nn.Linear(2, 2))


def test_a_student_is_saved_and_loaded_and_replayed(tmp_path: Path) -> None:
    teacher, other = (network("stacked", Rule(), 4, 2) for _ in range(2))
    growth = net2net.upcycle(teacher, [2, 1, 1, 3], tokens())
    student = growth.student.train()
    student(tokens())
    net2net.balance_experts(student, rate=1.0)
    torch.save(student.state_dict(), tmp_path / "student.pt")
    again = growth.replay(other)
    assert again.student[1].experts.routing.total.dtype == torch.long
    assert int(again.student[1].experts.routing.total.sum()) == 0
    assert error(other, again.student, tokens()) <= 1e-10
    again.student.load_state_dict(torch.load(tmp_path / "student.pt"))
    assert error(student, again.student, tokens()) == 0
    torch.save(student, tmp_path / "whole.pt")
    assert error(student, torch.load(tmp_path / "whole.pt", weights_only=False), tokens()) == 0
    growth.plan.save(tmp_path / "plan")
    loaded = net2net.Plan.load(tmp_path / "plan")
    assert str(loaded) == str(growth.plan)
    replayed = net2net.replay(loaded, teacher, tokens()).student
    assert all(torch.equal(a, b) for a, b in zip(replayed.parameters(), growth.student.parameters(), strict=True))
    replayed.load_state_dict(torch.load(tmp_path / "student.pt"))  # as after loading the teacher anew
    assert error(student, replayed, tokens()) == 0
    with pytest.raises(net2net.StudentMismatchError, match="4 experts"):
        net2net.replay(loaded, network("stacked", Rule(), 5, 2), tokens())


@pytest.mark.parametrize("form", FORMS)
def test_replicas_can_have_replicas(form: str) -> None:
    teacher = network(form, Rule(), 4, 2)
    once = net2net.upcycle(teacher, [2, 1, 1, 2], tokens()).student
    twice = net2net.upcycle(once, 2.0, tokens())
    assert error(teacher, twice.student, tokens()) <= 1e-10
    mixture = mixtures(twice.student, tokens()).found["1.experts"]
    assert (mixture.size, mixture.sources, mixture.top_k) == (12, 4, 2)


@pytest.mark.parametrize("form", FORMS)
def test_replicas_stay_in_the_group_of_their_source(form: str) -> None:
    teacher = network(form, Rule(), 4, 2)
    experts = [p for n, p in teacher.named_parameters() if ".experts." in n]
    rest = [p for n, p in teacher.named_parameters() if ".experts." not in n]
    optimizer = torch.optim.AdamW([{"params": rest, "lr": 1e-2}, {"params": experts, "lr": 3e-4, "weight_decay": 0.5}])
    teacher(tokens()).square().sum().backward()
    optimizer.step()
    growth = net2net.upcycle(teacher, [2, 1, 1, 2], tokens())
    new = growth.optimizer(optimizer, ramp=0)
    names = {p: n for n, p in growth.student.named_parameters()}
    for group in new.param_groups:
        for p in group["params"]:
            routes = names[p].endswith("routing.weight")
            assert group["weight_decay"] == (0.5 if ".experts." in names[p] and not routes else 0.01)
    assert sum(len(g["params"]) for g in new.param_groups) == len(names)
    first = names and next(p for p, n in names.items() if n.endswith(("experts.up", "replicas.1.0.weight")))
    old = next(p for n, p in teacher.named_parameters() if n.endswith(("experts.up", "experts.0.0.weight")))
    part = new.state[first]["exp_avg"][0] if form == "stacked" else new.state[first]["exp_avg"]
    whole = optimizer.state[old]["exp_avg"][0] if form == "stacked" else optimizer.state[old]["exp_avg"]
    assert torch.allclose(part, whole / 2)


def test_only_some_layers_and_refusals() -> None:
    model = nn.Sequential(nn.Linear(4, 6), MixtureOfExperts(6, 8, 4, 2), MixtureOfExperts(6, 8, 3, 1)).double()
    with pytest.raises(net2net.CaptureError, match="doesn't run on the example inputs"):
        net2net.upcycle(model, 2.0, tokens(torch.float32))
    growth = net2net.upcycle(model, {"2.*": "2x"}, tokens())
    assert [c.row().what for c in growth.plan.changes] == ["2.experts"]
    assert isinstance(growth.student[2].experts, ReplicaExperts)
    assert not isinstance(growth.student[1].experts, ReplicaExperts)
    assert isinstance(growth.student[2].experts.experts, type(model[2].experts))
    for experts, message in (
        ({"3.*": 8}, "there is no mixture '3.\\*'"),
        ({"2.*": 2}, "has 3 experts; 2 are fewer"),
        ({"2.*": 3, "1.*": 4}, "nothing would grow"),
        ([2, 2], "says how often 2 are there"),
        ({"2.*": [2, 0, 1]}, "each expert stays"),
    ):
        with pytest.raises(net2net.GrowthError, match=message):
            net2net.upcycle(model, experts, tokens())  # type: ignore[arg-type]  # that's the point
    with pytest.raises(net2net.GrowthError, match="no mixture of experts"):
        net2net.upcycle(nn.Linear(4, 4).double(), 2.0, tokens())
    with pytest.raises(net2net.GrowthError, match="routing='best'"):
        net2net.upcycle(model, 2.0, tokens(), routing="best")


@pytest.mark.filterwarnings("ignore:all parameters are frozen")
def test_frozen_experts_stay_frozen_and_modes_stay() -> None:
    model = network("stacked", Rule(), 4, 2).eval().requires_grad_(False)
    student = net2net.upcycle(model, 2.0, tokens()).student
    assert not any(p.requires_grad for p in student.parameters())
    assert not any(m.training for m in student.modules())
