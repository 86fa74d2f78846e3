"""Folders of mixtures with more experts: in their own class, or with replicas that a call puts back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from typer.testing import CliRunner

import net2net
from net2net.cli._app import app
from net2net.huggingface import PLAN_FILE, open_folder
from net2net.moe import REPLICAS_FILE, ReplicaExperts
from zoo.huggingface import huggingface_models
from zoo.huggingface_mixtures import MODELS

ZOO = {model.name: model for model in MODELS}
# Every family of the zoo whose gate is one of those known; the ordinary run takes three.
STOCK = (
    "mixtral", "qwen3_moe", "gpt_oss", "qwen2_moe", "qwen3_next", "olmoe", "deepseek_v2", "glm4_moe", "granite_moe",
    "minimax_m2", "dots1", "flex_olmo", "cohere2_moe", "ernie4_5_moe", "hunyuan_moe", "lfm2_moe", "afmoe", "jamba",
)  # fmt: skip
REFUSED = {
    "deepseek_v3": "sum of their two best experts",
    "phimoe": "none of the rules known",
    "jetmoe": "isn't called with tokens",
    "llama4": "isn't called with tokens",
}


def saved(name: str, folder: Path, **how: Any) -> Any:
    """A teacher whose experts count for something."""
    model: Any = ZOO[name].build()
    with torch.no_grad():
        for parameter in (p for n, p in model.named_parameters() if "expert" in n):
            parameter.mul_(4)
    model.eval().save_pretrained(folder, **how)
    return model


def logits(model: Any) -> torch.Tensor:
    x = torch.randint(4, model.config.vocab_size, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: torch.Tensor = model.eval()(x).logits
    return found


def error(a: Any, b: Any) -> float:
    ours = logits(a)
    return float((ours - logits(b)).abs().max() / ours.abs().max())


def experts(model: nn.Module) -> int:
    return sum(p.numel() for n, p in model.named_parameters() if "expert" in n and "shared" not in n)


@pytest.mark.parametrize("name", [*STOCK[:3], *(pytest.param(name, marks=pytest.mark.sweep) for name in STOCK[3:])])
def test_raising_k_is_exact_in_the_own_class(name: str, tmp_path: Path) -> None:
    teacher = saved(name, tmp_path / "small", max_shard_size="20KB")
    growth = net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", "2x", routing="raise_k")
    assert growth.in_memory is None and growth.plan.preserves == "exact"
    student = type(teacher).from_pretrained(tmp_path / "big")
    assert error(teacher, student) <= 1e-5
    assert experts(student) == 2 * experts(teacher)
    student.save_pretrained(tmp_path / "again")
    assert open_folder(tmp_path / "big").tensors.keys() == open_folder(tmp_path / "again").tensors.keys()


@pytest.mark.parametrize("name", REFUSED)
def test_gates_that_copies_would_change_are_refused(name: str, tmp_path: Path) -> None:
    saved(name, tmp_path / "small")
    with pytest.raises(net2net.GrowthError, match=REFUSED[name]):
        net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", "2x", routing="raise_k")
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_words_of_the_config_raise_k(tmp_path: Path) -> None:
    saved("qwen3_moe", tmp_path / "small")
    both = {"num_experts": "2x", "num_experts_per_tok": 4}
    growth = net2net.grow_checkpoint(tmp_path / "small", tmp_path / "big", both)
    assert growth.in_memory is None and growth.verification is not None and growth.verification.passed
    net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "same", "2x", routing="raise_k")
    ours, theirs = open_folder(tmp_path / "big"), open_folder(tmp_path / "same")
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.tensors)
    for sizes, message in (
        ({"num_experts": "2x"}, "raise num_local_experts and num_experts_per_tok by one factor"),
        ({**both, "hidden_size": "2x"}, "'hidden_size' and experts in one request"),
        ({"num_experts": 6, "num_experts_per_tok": 4}, "by one factor"),
    ):
        with pytest.raises(net2net.OptionError, match=message):
            net2net.grow_checkpoint(tmp_path / "small", tmp_path / "other", sizes)


def test_free_routing_says_how_far_off_it_is(tmp_path: Path) -> None:
    teacher = saved("mixtral", tmp_path / "small")
    growth = net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", 8, routing="free")
    student = type(teacher).from_pretrained(tmp_path / "big")
    assert (student.config.num_local_experts, student.config.num_experts_per_tok) == (8, 2)
    assert growth.verification is not None and growth.plan.preserves == "approximate"
    assert 1e-3 < growth.verification.max_relative_error < 2 * error(teacher, student) + 1


def test_replicas_are_put_back_and_saved_again(tmp_path: Path) -> None:
    teacher = saved("mixtral", tmp_path / "small")
    growth = net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", [2, 1, 3, 2, 1])
    assert growth.plan.preserves == "exact" and growth.verification is not None and growth.verification.passed
    plain = type(teacher).from_pretrained(tmp_path / "big")
    assert error(teacher, plain) == 0
    student: Any = net2net.attach_replicas(plain, tmp_path / "big")
    assert student is plain and error(teacher, student) <= 1e-5
    assert student.model.layers[1].mlp.experts.routing.counts == (2, 1, 3, 2, 1)
    before = student.model.layers[0].mlp.experts.routing.weight.clone()
    student.train()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.5)
    x = torch.randint(4, teacher.config.vocab_size, (4, 12))
    for _ in range(3):
        optimizer.zero_grad()
        student(x, labels=x).loss.backward()
        optimizer.step()
        net2net.balance_experts(student)
    assert not torch.equal(before, student.model.layers[0].mlp.experts.routing.weight)
    net2net.save_replicas(student, tmp_path / "trained")
    again = net2net.attach_replicas(type(teacher).from_pretrained(tmp_path / "trained"), tmp_path / "trained")
    assert error(student, again) <= 1e-6
    assert error(teacher, again) > 1e-3
    for name, tensor in student.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


def test_what_replicas_dont_belong_to_is_refused(tmp_path: Path) -> None:
    teacher = saved("mixtral", tmp_path / "small")
    with pytest.raises(net2net.CheckpointError, match=f"no {REPLICAS_FILE}"):
        net2net.attach_replicas(teacher, tmp_path / "small")
    with pytest.raises(net2net.OptionError, match="no replicas"):
        net2net.save_replicas(teacher, tmp_path / "other")
    student: Any = net2net.upcycle(teacher, "2x", {"input_ids": torch.randint(4, 30, (2, 7))}).student
    assert isinstance(student.model.layers[0].mlp.experts, ReplicaExperts)
    net2net.save_replicas(student, tmp_path / "big")
    with pytest.raises(net2net.StudentMismatchError, match="already"):
        net2net.attach_replicas(student, tmp_path / "big")
    with pytest.raises(net2net.StudentMismatchError, match="doesn't have"):
        net2net.attach_replicas(nn.Linear(2, 2), tmp_path / "big")
    (tmp_path / "big" / REPLICAS_FILE).write_bytes(b"no tensors")
    with pytest.raises(net2net.CheckpointError, match="damaged"):
        net2net.attach_replicas(teacher, tmp_path / "big")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved("qwen3_moe", tmp_path / "small", max_shard_size="20KB")
    asked: dict[str, Any] = {"experts": "2x", "routing": "raise_k", "max_shard_size": "20KB"}

    def stop(what: str, finished: int, total: int) -> None:
        if finished > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", **asked, progress=stop)
    assert not (tmp_path / "big").exists()
    seen: list[int] = []
    net2net.upcycle_checkpoint(
        tmp_path / "small", tmp_path / "big", **asked, progress=lambda what, finished, total: seen.append(finished)
    )
    assert seen[0] > 0
    net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "whole", **asked)
    ours, theirs = open_folder(tmp_path / "big"), open_folder(tmp_path / "whole")
    assert all(torch.equal(ours.read(name), theirs.read(name)) for name in theirs.tensors)


def test_the_command(tmp_path: Path) -> None:
    saved("mixtral", tmp_path / "small")
    small, big = str(tmp_path / "small"), str(tmp_path / "big")
    done = CliRunner().invoke(app, ["upcycle", small, big, "--experts", "2x", "--routing", "raise_k", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["preserves"] == "exact" and found["verification"]["passed"]
    assert json.loads((tmp_path / "big" / "config.json").read_text())["num_experts_per_tok"] == 4
    refused = CliRunner().invoke(app, ["upcycle", small, big, "--experts", "2x"])
    assert refused.exit_code == 1 and "exists already" in refused.output.replace("\n", " ")


DENSE = {model.name: model for model in huggingface_models()}


def saved_dense(name: str, folder: Path) -> Any:
    model: Any = DENSE[name].build()
    model.eval().save_pretrained(folder, max_shard_size="20KB")
    return model


@pytest.mark.parametrize(
    ("name", "to"),
    [("llama", "mixtral"), ("qwen2", "qwen2_moe"), ("qwen3", "qwen3_moe"),
     *(pytest.param(name, "mixtral", marks=pytest.mark.sweep) for name in ("mistral", "llama_tied"))],
)  # fmt: skip
def test_a_dense_folder_becomes_a_mixture(name: str, to: str, tmp_path: Path) -> None:
    teacher = saved_dense(name, tmp_path / "small")
    growth = net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", 8, top_k=2, to=to)
    assert growth.in_memory is None and growth.plan.preserves == "exact"
    student = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "big")
    assert type(student).__name__ == growth.plan.changes[0].to and error(teacher, student) <= 1e-5
    gate = student.model.layers[1].mlp.gate
    assert gate.weight.shape[0] == 8 and float(gate.weight.std()) > 0.01
    calls: list[torch.Tensor] = []
    student.model.layers[1].mlp.experts.register_forward_pre_hook(lambda _, args: calls.append(args[1]))
    logits(student)
    assert calls[0].shape[1] == 2 and len(calls[0].unique()) > 4  # tokens go to different copies at once
    student.save_pretrained(tmp_path / "again")
    assert open_folder(tmp_path / "big").tensors.keys() == open_folder(tmp_path / "again").tensors.keys()


@pytest.mark.parametrize(
    ("name", "how", "message"),
    [
        ("olmo", {"top_k": 2, "to": "olmoe"}, "OlmoeForCausalLM has 'model.layers.0.self_attn.q_norm.weight'"),
        ("llama_biased", {"top_k": 2, "to": "mixtral"}, "'model.layers.0.self_attn.q_proj.bias' .* hasn't"),
        ("llama", {"top_k": 9, "to": "mixtral"}, "top_k=9 of 8 experts"),
        ("llama", {"top_k": 2, "to": "qwen3"}, "no mixture of experts"),
        ("llama", {"top_k": 2, "to": "nonsense"}, "no kind of model"),
        ("llama", {"top_k": 2}, "give both"),
        ("llama", {"top_k": 2, "to": "mixtral", "routing": "free"}, "to= makes one of a dense model"),
        ("bert", {"top_k": 2, "to": "mixtral"}, "no causal language model"),
    ],
)
def test_what_is_no_mixture_of_that_class_is_refused(
    name: str, how: dict[str, Any], message: str, tmp_path: Path
) -> None:
    saved_dense(name, tmp_path / "small")
    with pytest.raises(net2net.GrowthError, match=message):
        net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", 8, **how)
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_the_plan_of_a_dense_folder_is_its_own(tmp_path: Path) -> None:
    teacher = saved_dense("llama", tmp_path / "small")
    net2net.upcycle_checkpoint(tmp_path / "small", tmp_path / "big", 4, top_k=1, to="mixtral")
    plan = net2net.Plan.load(tmp_path / "big" / PLAN_FILE)
    with pytest.raises(net2net.GrowthError, match="tensors in its files"):
        net2net.replay(plan, teacher, {"input_ids": torch.randint(4, 30, (2, 7))})
