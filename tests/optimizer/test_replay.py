"""A growth is a recipe: saved as a plan, carried out on another checkpoint, without the growth that it comes from."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from deeper import equal_states, state
from support import X, from_zoo, mlp, refused

Grow = Callable[[nn.Module, Any], net2net.Growth]
WAYS: dict[str, tuple[str, Grow]] = {
    "wider": ("llama", lambda t, x: net2net.widen(t, 1.5, x)),
    "copies": ("resnet_basic", lambda t, x: net2net.widen(t, 2.0, x, how="split", noise="zero_sum", seed=3)),
    "random": ("llama", lambda t, x: net2net.widen(t, 2.0, x, how="random_pad")),
    "random blocks": ("llama", lambda t, x: net2net.deepen(t, 2.0, x, init="zero-random")),
    "stacked": ("llama", lambda t, x: net2net.deepen(t, 2.0, x, init="stack")),
    "layers": ("mlp", lambda t, x: net2net.deepen(t, {"0": 2}, x)),
    "kernels": ("resnet_basic", lambda t, x: net2net.deepen(t, {"conv1": 1}, x, kernel=[(1, 3), (3, 1)])),
    "both": ("resnet_basic", lambda t, x: net2net.grow(t, x, sizes=2.0, where=2.0)),
    "huggingface": (
        "llama_tied",
        lambda t, x: net2net.grow(t, x, sizes={"model.layers.*.mlp.up_proj": 2.0}, where=2.0),
    ),
}


def teacher_of(name: str) -> tuple[nn.Module, Any]:
    if name == "llama_tied":
        from zoo.huggingface_causal import MODELS

        model = next(m for m in MODELS if m.name == name)
        return model.build(), model.inputs()
    return from_zoo(name)


def other_weights(teacher: nn.Module) -> nn.Module:
    other = copy.deepcopy(teacher)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.3).add_(0.01)
    return other


@pytest.mark.thin(2)
@pytest.mark.parametrize("way", WAYS)
def test_a_plan_from_disk_makes_the_same_student(way: str, tmp_path: Path) -> None:
    name, make = WAYS[way]
    teacher, x = teacher_of(name)
    growth = make(teacher, x)
    growth.plan.save(tmp_path / "plan.safetensors")
    plan = net2net.Plan.load(tmp_path / "plan.safetensors")
    again = net2net.replay(plan, copy.deepcopy(teacher), x)
    assert again.plan == growth.plan and type(again.student) is type(growth.student)
    assert str(again.student) == str(growth.student)
    assert equal_states(state(again.student), state(growth.student))
    other = other_weights(teacher)
    replayed = net2net.replay(plan, other, x)
    assert replayed.verification.passed and replayed.verification.preserves == growth.verification.preserves
    assert equal_states(state(replayed.student), state(growth.replay(other).student))
    assert not equal_states(state(replayed.student), state(growth.student))


def test_the_optimizer_follows_a_plan_from_disk(tmp_path: Path) -> None:
    growth = net2net.grow(mlp(), X, where={"0": 1}, sizes=2.0)
    growth.plan.save(tmp_path / "plan.safetensors")
    other = other_weights(growth.teacher)
    optimizer = torch.optim.AdamW(other.parameters())
    other(X).sum().backward()
    optimizer.step()
    replayed = net2net.replay(net2net.Plan.load(tmp_path / "plan.safetensors"), other, X)
    here, there = (g.optimizer(optimizer).state_dict()["state"] for g in (replayed, growth.replay(other)))
    assert all(torch.equal(here[k][key], there[k][key]) for k in here for key in here[k])


def test_other_networks_are_refused() -> None:
    wider, deeper = net2net.widen(mlp(), {"0": 12}, X), net2net.deepen(mlp(), {"0": 1}, X)
    narrow = nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    wrong = net2net.StudentMismatchError
    refused(wrong, lambda: net2net.replay(wider.plan, narrow, X), "'0'", "8 -> 12", "has 7", "by itself")
    refused(wrong, lambda: net2net.replay(deeper.plan, narrow, X), "(6, 7)", "made for")
    flat = nn.Sequential(nn.Linear(4, 8), nn.Tanhshrink(), nn.Linear(8, 2)).double()
    refused(wrong, lambda: net2net.replay(deeper.plan, flat, X), "'0'", "no such place")
    shorter = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)).double()
    refused(wrong, lambda: net2net.replay(wider.plan, shorter, X), "'2.weight'", "(3, 8)", "grow this one")
    ghost = replace(wider.plan, tensors={**wider.plan.tensors, "9.weight": wider.plan.tensors["2.weight"]})
    refused(wrong, lambda: net2net.replay(ghost, mlp(), X), "'9.weight'")


@pytest.mark.parametrize("widths", [(4, 6, 6, 5, 2), (4, 6, 5, 2), (4, 9, 9, 5, 2)], ids=["deeper", "alike", "both"])
def test_a_transfer_from_disk_makes_the_same_student(widths: tuple[int, ...], tmp_path: Path) -> None:
    def made(sizes: tuple[int, ...]) -> nn.Module:
        layers = [m for a, b in pairwise(sizes) for m in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers[:-1]).double()

    torch.manual_seed(0)
    teacher, student, x = made((4, 6, 5, 2)), made(widths), torch.randn(7, 4, dtype=torch.float64)
    plan = net2net.transfer(teacher, student, x).plan
    assert all(step.changes for step in plan.steps) or widths == (4, 6, 5, 2)  # no step in which nothing grows
    plan.save(tmp_path / "plan.safetensors")
    again = net2net.replay(net2net.Plan.load(tmp_path / "plan.safetensors"), teacher, x)
    assert equal_states(state(again.student), state(student))
    assert torch.allclose(student(x), teacher(x), rtol=0, atol=1e-12)
