"""Copies of experts in a network's own classes: all of them chosen, exactly; or freely, and how far off that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

import net2net
from mixtures import FORMS, RULES, WIDTH, Rule, network, tokens
from net2net.moe import MixtureOfExperts, mixtures


def error(a: nn.Module, b: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / a(x).abs().max())


PLAIN = [rule for rule in RULES if not rule.groups]


@pytest.mark.thin(5)
@pytest.mark.parametrize("rule", PLAIN, ids=str)
@pytest.mark.parametrize(("form", "top_k"), [("stacked", 1), ("stacked", 4), ("stacked", 8), ("list", 2)])
def test_raising_k_is_exact(form: str, rule: Rule, top_k: int) -> None:
    teacher = network(form, rule, 8, top_k)
    growth = net2net.upcycle(teacher, "2x", tokens(), routing="raise_k")
    assert growth.verification.passed
    assert error(teacher, growth.student, tokens()) <= 1e-10
    found = mixtures(growth.student, tokens()).found["1.experts"]
    assert (found.size, found.top_k) == (16, 2 * top_k)
    assert type(growth.student[1]) is type(teacher[1])


def test_a_gate_in_float32_of_a_network_in_float64() -> None:
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate, self.experts = FORMS["stacked"](Rule(), 4, 2).gate, FORMS["stacked"](Rule(), 4, 2).experts

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            flat = x.reshape(-1, x.shape[-1])
            weights, chosen = self.gate(flat)[0].float().softmax(-1).topk(self.gate.top_k)
            return self.experts(flat, chosen, weights.double()).reshape(x.shape)

    teacher = nn.Sequential(nn.Linear(4, WIDTH), Single()).double()
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="raise_k")
    assert growth.verification.tolerance == 1e-5 and growth.verification.max_relative_error < 1e-6


def test_raising_k_has_no_use_for_noise() -> None:
    teacher = network("stacked", Rule("sigmoid", bias=True), 4, 2)
    loud, silent = (
        net2net.upcycle(teacher, 2.0, tokens(), routing="raise_k", noise=noise).student.state_dict()
        for noise in (1.0, 0.0)
    )
    assert all(torch.equal(loud[name], silent[name]) for name in silent)


@pytest.mark.parametrize("form", FORMS)
def test_raising_k_takes_whole_multiples_only(form: str) -> None:
    teacher = network(form, Rule("sigmoid", renormalised=False), 4, 2)
    assert error(teacher, net2net.upcycle(teacher, 3.0, tokens(), routing="raise_k").student, tokens()) <= 1e-10
    for counts in (1.5, [2, 1, 2, 2]):
        with pytest.raises(net2net.SizeError, match="4 experts become 8 or 12"):
            net2net.upcycle(teacher, counts, tokens(), routing="raise_k")


def test_copies_that_are_chosen_together_part_in_training() -> None:
    teacher = network("stacked", Rule(), 4, 2, torch.float32)
    x = torch.randn(64, 4)
    growth = net2net.upcycle(teacher, 2.0, x, routing="raise_k")
    assert "unequal shares" in str(growth)
    student = growth.student.train()
    before = student[1].experts.up[0::2] - student[1].experts.up[1::2]
    assert float(before.abs().max()) == 0
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        nn.functional.mse_loss(student(x), x[:, :3].sin()).backward()
        optimizer.step()
    apart = (student[1].experts.up[0::2] - student[1].experts.up[1::2]).flatten(1).norm(dim=1)
    assert float(apart.detach().min()) > 1e-4


def test_the_optimizer_follows_copies_exactly() -> None:
    """The state of a copy is what its own gradients would have made."""
    teacher = network("stacked", Rule(), 4, 2)
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="raise_k")
    target = torch.randn(4, 12, 3, dtype=torch.float64)
    gradients = []
    for model in (teacher, growth.student):
        nn.functional.mse_loss(model(tokens()), target).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    for name in ("1.experts.up", "1.experts.up_bias", "1.experts.down", "1.experts.down_bias"):
        axis = growth.plan.tensors[name].axes[0]
        assert axis is not None and axis.gradient is not None
        share = torch.from_numpy(axis.gradient).reshape(-1, *[1] * (gradients[0][name].dim() - 1))
        assert torch.allclose(gradients[1][name], share * gradients[0][name][torch.from_numpy(axis.source)], atol=1e-12)


def test_a_choice_by_groups_of_the_best_two_and_unknown_gates_are_refused() -> None:
    with pytest.raises(net2net.OptionError, match="sum of their two best experts"):
        net2net.upcycle(network("stacked", RULES[-1], 8, 2), 2.0, tokens(), routing="raise_k")

    class Squares(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = FORMS["stacked"](Rule(), 4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            _, weights, chosen = self.inner.gate(x)
            return self.inner.experts(x, chosen, weights.square() + 0.1)

    model, x = Squares().double(), torch.randn(20, WIDTH, dtype=torch.float64)
    for routing in ("raise_k", "free"):
        with pytest.raises(net2net.OptionError, match="none of the rules known"):
            net2net.upcycle(model, 2.0, x, routing=routing)
    assert net2net.upcycle(model, 2.0, x).verification.passed


def test_a_number_is_changed_by_its_name_only() -> None:
    class Layer(FORMS["stacked"]):  # type: ignore[misc,name-defined]  # a class from a table
        def __init__(self) -> None:
            super().__init__(Rule(), 4, 2)
            self.window, self.factor = 4, 2

    teacher = nn.Sequential(nn.Linear(4, WIDTH), Layer()).double()
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="raise_k")
    assert (growth.student[1].window, growth.student[1].factor) == (4, 2)
    assert growth.plan.changed == {"1.gate.top_k": (2, 4), "1.experts.num_experts": (4, 8)}


def test_without_a_name_for_k_it_is_refused() -> None:
    class Layer(FORMS["stacked"]):  # type: ignore[misc,name-defined]  # a class from a table
        def __init__(self) -> None:
            super().__init__(Rule(), 4, 2)
            del self.gate.top_k
            type(self.gate).top_k = 2

    teacher = nn.Sequential(nn.Linear(4, WIDTH), Layer()).double()
    try:
        with pytest.raises(net2net.CouplingError, match="no number in '1' says by its name that 2 experts"):
            net2net.upcycle(teacher, 2.0, tokens(), routing="raise_k")
    finally:
        del type(teacher[1].gate).top_k


# The traps of copies among which the router chooses freely.


def test_free_routing_of_one_expert_per_token_is_the_teacher_s_but_for_near_ties() -> None:
    teacher = network("list", Rule(), 8, 1)
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="free")
    assert growth.plan.preserves == "approximate" and error(teacher, growth.student, tokens()) <= 1e-10
    many = torch.randn(4096, 1, 4, dtype=torch.float64)
    with torch.no_grad():
        apart = (teacher(many) - growth.student(many)).abs().flatten(1).amax(1) > 1e-10
    assert 0 < float(apart.double().mean()) < 0.01  # the noise on a copy's choice decides a near tie


@pytest.mark.parametrize("form", FORMS)
def test_free_routing_of_several_says_how_far_off_it_is_and_why(form: str) -> None:
    teacher = network(form, Rule("sigmoid", bias=True), 8, 2)
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="free")
    assert growth.verification.preserves == "approximate"
    assert growth.verification.max_relative_error > 0.05
    assert error(teacher, growth.student, tokens()) > 0.05
    (change,) = growth.plan.changes
    together = change.summary()["together"]
    assert together > 0.5
    assert f"instead of different ones for {together:.1%} of the tokens" in str(growth)


def test_a_softmax_over_all_experts_keeps_its_size() -> None:
    teacher = network("stacked", Rule(renormalised=False), 8, 1)
    growth = net2net.upcycle(teacher, 2.0, tokens(), routing="free", noise=0.0)
    assert growth.verification.max_relative_error < 1e-10  # half of that without the factor


def test_noise_is_there_where_the_bias_is_zero_and_on_copies_only() -> None:
    teacher = network("stacked", Rule("sigmoid", bias=True), 4, 2)
    teacher[1].gate.correction.zero_()
    student = net2net.upcycle(teacher, 2.0, tokens(), routing="free", noise=1e-3).student
    bias = student[1].gate.correction
    assert bool((bias[0::2] == 0).all())
    assert float(bias[1::2].abs().min()) > 0 and float(bias.abs().max()) <= 1e-3
    assert torch.equal(student[1].gate.weight[0::2], student[1].gate.weight[1::2])
    without = net2net.upcycle(network("stacked", Rule(), 4, 2), 2.0, tokens(), routing="free").student
    assert not torch.equal(without[1].gate.weight[0::2], without[1].gate.weight[1::2])


def test_noise_does_not_touch_the_choice_of_sources_in_replica_routing() -> None:
    """Of saturated scores 1e-3 re-ranks different experts; the second level never does."""
    teacher = network("stacked", Rule("sigmoid"), 8, 1)
    with torch.no_grad():
        teacher[1].gate.weight *= 30.0
    assert net2net.upcycle(teacher, 2.0, tokens()).verification.max_relative_error <= 1e-10
    assert net2net.upcycle(teacher, 2.0, tokens(), routing="free").verification.max_relative_error > 1e-3


def test_twins_with_one_load_cannot_be_balanced_apart() -> None:
    """Copies that are always chosen together have the same load: only replica routing tells them apart."""
    teacher = network("stacked", Rule(), 4, 2)
    student = net2net.upcycle(teacher, 2.0, tokens(), routing="free", noise=0.0).student
    chosen: list[torch.Tensor] = []
    student[1].experts.register_forward_pre_hook(lambda _, args: chosen.append(args[1]))
    student(tokens())
    load = torch.bincount(chosen[0].flatten(), minlength=8)
    assert bool((load[0::2] == load[1::2]).all())
    replicas = net2net.upcycle(teacher, 2.0, tokens()).student.train()
    replicas(tokens())
    load = replicas[1].experts.routing.load
    assert not bool((load[0::2] == load[1::2]).all())


def test_a_plan_of_copies_is_saved_and_replayed(tmp_path: Path) -> None:
    for form, routing in (("stacked", "raise_k"), ("list", "raise_k"), ("stacked", "free")):
        teacher, other = network(form, Rule(), 4, 2), network(form, Rule(), 4, 2)
        growth = net2net.upcycle(teacher, 2.0, tokens(), routing=routing)
        growth.plan.save(tmp_path / "plan")
        plan = net2net.Plan.load(tmp_path / "plan")
        assert str(plan) == str(growth.plan)
        again = net2net.replay(plan, teacher, tokens()).student
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), growth.student.parameters(), strict=True))
        if routing == "raise_k":
            assert error(other, growth.replay(other).student, tokens()) <= 1e-10


def test_copies_behind_replicas_are_refused() -> None:
    model = nn.Sequential(MixtureOfExperts(4, 8, 4, 2)).double()
    student = net2net.upcycle(model, 2.0, tokens()).student
    with pytest.raises(net2net.OptionError, match="has replicas behind its router"):
        net2net.upcycle(student, 2.0, tokens(), routing="raise_k")


SIZES: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 32, "head_dim": 8, "num_experts_per_tok": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "Mixtral": {"num_local_experts": 4},
    "Qwen3Moe": {"num_experts": 4, "moe_intermediate_size": 12, "decoder_sparse_step": 1},
    "GptOss": {"num_local_experts": 4},
    "Glm4Moe": {"n_routed_experts": 4, "moe_intermediate_size": 12, "first_k_dense_replace": 1},
    "Ernie4_5_Moe": {"moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 12, "moe_layer_start_index": 0},
}


@pytest.mark.thin(2)
@pytest.mark.parametrize("family", FAMILIES)
def test_families_of_transformers(family: str) -> None:
    config = getattr(transformers, f"{family}Config")(**SIZES, **FAMILIES[family])
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    inputs = {"input_ids": torch.arange(16).reshape(2, 8)}
    assert net2net.upcycle(model, [2, 1, 3, 1], inputs).verification.max_relative_error <= 1e-5
    student = net2net.upcycle(model, 2.0, inputs, routing="raise_k").student
    again = type(student)(student.config).eval()
    again.load_state_dict(student.state_dict())
    with torch.no_grad():
        assert torch.allclose(again(**inputs).logits, model(**inputs).logits, atol=1e-6)
