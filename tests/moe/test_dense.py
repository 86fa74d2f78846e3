"""Dense feed-forwards become mixtures that compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import nn

import net2net
from net2net.moe import MixtureOfExperts, mixtures
from net2net.moe._feed_forward import feed_forwards


class Gated(nn.Module):
    """A feed-forward with a gate: apart, or in one matrix with the up."""

    def __init__(self, fused: bool = False, bias: bool = True, act: Any = F.silu) -> None:
        super().__init__()
        self.act = act
        if fused:
            self.gate_up = nn.Linear(6, 24, bias=bias)
        else:
            self.gate, self.up = nn.Linear(6, 12, bias=bias), nn.Linear(6, 12, bias=bias)
        self.down = nn.Linear(12, 6, bias=not bias)
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.gate_up(x).chunk(2, -1) if self.fused else (self.gate(x), self.up(x))
        return self.down(self.act(gate) * up)


def plain(act: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 12), act or nn.GELU(), nn.Linear(12, 6))


KINDS = {
    "gelu": plain,
    "tanh gelu": lambda: plain(nn.GELU(approximate="tanh")),
    "relu": lambda: plain(nn.ReLU()),
    "gated": Gated,
    "gated, no bias": lambda: Gated(bias=False),
    "gated, fused": lambda: Gated(fused=True),
    "gated by relu": lambda: Gated(act=torch.relu),
}
X = torch.randn(5, 9, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network(kind: str) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), KINDS[kind](), nn.Linear(6, 3)).double()


def error(a: nn.Module, b: nn.Module, x: torch.Tensor = X) -> float:
    with torch.no_grad():
        return float((a(x) - b(x)).abs().max() / a(x).abs().max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("experts", "top_k", "granularity", "shared"),
    [(5, 2, 1, False), (8, 4, 2, True)],
)
def test_every_feed_forward(kind: str, experts: int, top_k: int, granularity: int, shared: bool) -> None:
    teacher = network(kind)
    growth = net2net.upcycle(teacher, experts, X, top_k=top_k, granularity=granularity, shared=shared)
    assert growth.verification.passed
    layer = growth.student[1]
    assert isinstance(layer, MixtureOfExperts)
    assert layer.experts.up.shape == (experts, 12 // granularity, 6)
    assert error(teacher, growth.student, torch.randn(40, 4, dtype=torch.float64)) <= 1e-10
    if not shared:
        assert mixtures(growth.student, X).found["1.experts"].top_k == top_k


def test_experts_part_and_each_has_tokens() -> None:
    teacher = network("gated").float()
    x = torch.randn(256, 4)
    student = net2net.upcycle(teacher, 4, x, top_k=2, granularity=2).student.train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3)
    load = torch.zeros(4, dtype=torch.long)

    def count(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        load.add_(torch.bincount(args[1].flatten(), minlength=4))

    student[1].experts.register_forward_pre_hook(count)
    for _ in range(50):
        optimizer.zero_grad()
        F.mse_loss(student(x), x[:, :3].sin()).backward()
        optimizer.step()
    apart = torch.cdist(student[1].experts.up.detach().flatten(1), student[1].experts.up.detach().flatten(1))
    assert float((apart + torch.eye(4)).min()) > 1e-3
    assert int(load.min()) > 0


def test_a_mixture_that_was_made_can_grow() -> None:
    teacher = network("gelu")
    once = net2net.upcycle(teacher, 4, X, top_k=2).student
    for routing in ("replica", "raise_k"):
        assert error(teacher, net2net.upcycle(once, 2.0, X, routing=routing).student) <= 1e-10


def test_the_optimizer_follows() -> None:
    teacher = network("gated")
    optimizer = torch.optim.AdamW(
        [
            {"params": teacher[1].parameters(), "lr": 3e-4},
            {"params": [*teacher[0].parameters(), *teacher[2].parameters()]},
        ]
    )
    teacher(X).square().sum().backward()
    optimizer.step()
    growth = net2net.upcycle(teacher, 6, X, top_k=2, granularity=2)
    new = growth.optimizer(optimizer, ramp=0)
    names = {p: n for n, p in growth.student.named_parameters()}
    assert all(
        (group["lr"] == 3e-4) == names[p].startswith("1.") for group in new.param_groups for p in group["params"]
    )
    state = new.state[growth.student[1].experts.down]["exp_avg"]
    old = optimizer.state[teacher[1].down.weight]["exp_avg"]
    assert torch.allclose(state[0], old[:, :6] / 6) and torch.allclose(state[3], old[:, 6:] / 6)


def test_a_plan_is_saved_and_replayed(tmp_path: Path) -> None:
    teacher, other = network("gated, fused"), network("gated, fused")
    growth = net2net.upcycle(teacher, 4, X, top_k=2, granularity=2, shared=True)
    growth.plan.save(tmp_path / "plan")
    plan = net2net.Plan.load(tmp_path / "plan")
    assert plan == growth.plan
    again = net2net.replay(plan, teacher, X)
    assert all(torch.equal(a, b) for a, b in zip(again.student.parameters(), growth.student.parameters(), strict=True))
    assert error(other, growth.replay(other).student) <= 1e-10
    with pytest.raises(net2net.StudentMismatchError, match="needs a feed-forward '1'"):
        net2net.replay(plan, nn.Sequential(nn.Linear(4, 6), nn.Identity(), nn.Linear(6, 3)).double(), X)


def test_refusals() -> None:
    teacher = network("gelu")
    for arguments, message in (
        ({"experts": 4, "top_k": 5}, "top_k=5"),
        ({"experts": 4, "top_k": 1, "granularity": 2}, "top_k=1 experts of 4"),
        ({"experts": 10, "top_k": 5, "granularity": 5}, "5 parts don't share"),
        ({"experts": 5, "top_k": 2, "granularity": 2}, "5 experts are no copies of 2 parts"),
        ({"experts": 4, "top_k": 0}, "top_k=0"),
        ({"experts": {"7": 4}, "top_k": 1}, "no feed-forward '7'"),
        ({"experts": 4, "top_k": 1, "routing": "free"}, "don't go with"),
    ):
        experts = arguments.pop("experts")
        with pytest.raises(net2net.GrowthError, match=message):
            net2net.upcycle(teacher, experts, X, **arguments)  # type: ignore[arg-type]  # of a table
    dropped = nn.Sequential(nn.Linear(4, 6), nn.Sequential(*plain(), nn.Dropout(0.1))).double()
    with pytest.raises(net2net.OptionError, match="without dropout"):
        net2net.upcycle(dropped, 4, X, top_k=2)
    with pytest.raises(net2net.OptionError, match="With top_k= its dense feed-forwards"):
        net2net.upcycle(teacher, 4, X)


def test_what_is_no_feed_forward_is_left_alone() -> None:
    class Other(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(torch.sin(self.a(x))) + x

    found, _, _ = feed_forwards(nn.Sequential(nn.Linear(4, 6), Other(), plain()).double(), X)
    assert list(found) == ["2"]


@pytest.mark.parametrize("family", ["Llama", "Qwen3", "GPT2", "Phi3"])
def test_families_of_transformers(family: str) -> None:
    sizes: dict[str, Any] = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 32}
    if family == "GPT2":
        sizes = {"vocab_size": 64, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "resid_pdrop": 0.0}
    sizes |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    cls = "GPT2LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, cls)(getattr(transformers, f"{family}Config")(**sizes)).eval()
    growth = net2net.upcycle(model, 4, {"input_ids": torch.arange(16).reshape(2, 8)}, top_k=2)
    assert len(growth.plan.changes) == 2
    assert growth.verification.max_relative_error <= 1e-5


@pytest.mark.parametrize("options", [{}, {"bias": True, "shared": nn.Linear(6, 6)}, {"gated": False}], ids=str)
def test_a_mixture_of_the_library_grows_as_any_network_and_after_an_upcycling(options: dict[str, Any]) -> None:
    teacher = nn.Sequential(nn.Linear(4, 6), MixtureOfExperts(6, 11, 4, 2, **options), nn.Linear(6, 3)).double()
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.normal_(std=0.5)
    for model in (teacher, net2net.upcycle(teacher, 2.0, X).student):
        growth = net2net.widen(model, 2.0, X)
        assert {(w.before, w.after) for w in growth.plan.widenings} == {(6, 12), (11, 22)}
        assert error(model, growth.student, torch.randn(40, 4, dtype=torch.float64)) < 1e-10
