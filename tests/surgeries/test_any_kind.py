"""Frames of images, entities that attend to each other, states that are carried: any of these, and any surgery."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import made
from surgeries.test_any_policy import _FREE, changed


class Camera(nn.Module):
    """Stacked frames through convolutions."""

    def __init__(self, choose: random.Random, channels: int, actions: int) -> None:
        super().__init__()
        width, padding = choose.randint(2, 5), choose.choice([0, 1])
        mode = choose.choice(["zeros", "reflect", "replicate"])
        norm = choose.choice([nn.BatchNorm2d(width), nn.Identity()])
        bias = choose.random() < 0.7
        first = nn.Conv2d(channels, width, 3, padding=padding, padding_mode=mode, bias=bias)
        self.body = nn.Sequential(first, norm, choose.choice([nn.ReLU(), nn.SiLU()]), nn.Conv2d(width, 4, 2), nn.Tanh())
        self.pool = choose.choice([nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d(2), nn.Identity()])
        side = {nn.AdaptiveAvgPool2d: getattr(self.pool, "output_size", 0)}.get(type(self.pool), 2 + 2 * padding)
        self.logits = nn.Linear(4 * side**2, actions)

    def forward(self, obs: Tensor) -> dict[str, Tensor]:
        return {"logits": self.logits(self.pool(self.body(obs)).flatten(1))}


class Crowd(nn.Module):
    """Any number of entities, embedded, attending to each other, and averaged."""

    def __init__(self, choose: random.Random, features: int, actions: int) -> None:
        super().__init__()
        heads = choose.choice([1, 2])
        width = heads * choose.randint(2, 4)
        self.embed, self.norm = nn.Linear(features, width), choose.choice([nn.LayerNorm, nn.Identity])(width)
        self.attend = nn.MultiheadAttention(width, heads, batch_first=True)
        self.logits = nn.Linear(width, actions)

    def forward(self, obs: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.embed(obs))
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return {"logits": self.logits(x.mean(1))}


class Carried(nn.Module):
    """A recurrent core whose state is given and given back; both heads read it."""

    def __init__(self, choose: random.Random, features: int, actions: int) -> None:
        super().__init__()
        self.is_lstm = choose.random() < 0.5
        self.core = (nn.LSTM if self.is_lstm else nn.GRU)(features, 4, batch_first=True)
        self.logits, self.value = nn.Linear(4, actions), nn.Linear(4, 1)

    def forward(self, obs: Tensor, state: Any) -> dict[str, Any]:
        out, state = self.core(obs, state)
        return {"logits": self.logits(out), "value": self.value(out), "state": state}


def close(a: Tensor, b: Tensor) -> None:
    assert ((a - b).abs().max() / a.abs().max().clamp(min=1e-300)).item() <= 1e-10


def check(seed: int) -> str:
    choose = random.Random(seed)
    kind = choose.choice([Camera, Crowd, Carried])
    count, actions, torch_rng = choose.randint(2, 4), choose.randint(1, 3), torch.Generator().manual_seed(seed)
    frames = choose.randint(1, 3) if kind is Camera else 1
    torch.manual_seed(seed)
    teacher: Any = made(kind(choose, count * frames, actions), seed)
    (old, new), at = changed(choose, count, choose.random() < 0.5)
    (acts, after), acts_at = changed(choose, actions, False)
    constants = {name: choose.uniform(-2, 2) for name in old if name not in new}
    if kind is Camera and choose.random() < 0.5:
        constants = dict.fromkeys(constants, 0.0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=torch_rng)

    def world(features: int) -> Tensor:  # features last, frames before them
        return drawn(3, 5, features) if kind is not Camera else drawn(3, 5, 5, frames, features)

    def laid(x: Tensor) -> Tensor:
        return x if kind is not Camera else x.flatten(3).permute(0, 3, 1, 2)

    x = world(count)
    for name, number in constants.items():
        x[..., old.index(name)] = number
    features: dict[Any, F] = {"obs": F(old, new, constants, axis=1 if kind is Camera else -1, frames=frames)}
    outputs: dict[Any, F] = {"logits": F(acts, after, start=choose.choice(["zero", -2.5, f"copy:{acts[0]}"]))}
    if after == acts:
        del outputs["logits"]
    given: tuple[Any, ...] = (laid(x),)
    more = choose.randint(0, 3)
    if kind is Carried:
        states = (
            {"state.0": F(4, 4 + more), "state.1": F(4, 4 + more)} if teacher.is_lstm else {"state": F(4, 4 + more)}
        )
        zeros = drawn(1, 3, 4)
        given = (laid(x), (zeros, drawn(1, 3, 4)) if teacher.is_lstm else zeros)
        if more:
            features |= states
            outputs |= states
    try:
        growth = net2net.surgery(teacher, given, features=features, outputs=outputs)
    except net2net.VerificationError:
        raise  # accepted, and wrong
    except net2net.GrowthError as refusal:
        return type(refusal).__name__
    student: Any = growth.student
    mine: Any = given[1] if kind is Carried else None
    theirs: Any = None
    if kind is Carried:
        wider = [torch.cat([s, drawn(1, 3, more)], -1) for s in (mine if teacher.is_lstm else (mine,))]
        theirs = tuple(wider) if teacher.is_lstm else wider[0]
    for mode in (False, True, False):
        y = 3 * world(len(at))
        x = torch.stack([y[..., at.index(k)] if k in at else torch.full_like(y[..., 0], constants[old[k]])
                         for k in range(count)], -1)  # fmt: skip
        ours = teacher.train(mode)(laid(x), *([mine] if kind is Carried else []))
        found = student.train(mode)(laid(y), *([theirs] if kind is Carried else []))
        close(ours["logits"], found["logits"][..., [acts_at.index(k) for k in range(actions)]])
        if kind is Carried:
            close(ours["value"], found["value"])
            mine, theirs = ours["state"], found["state"]
            close(mine[0], theirs[0][..., :4])
    return "exact"


@settings(_FREE, max_examples=4)
@given(st.integers(0, 10**6))
def test_every_surgery_is_exact_or_refused(seed: int) -> None:
    check(seed)


@pytest.mark.sweep
@settings(_FREE, max_examples=300)
@given(st.integers(0, 10**6))
def test_every_surgery_is_exact_or_refused_in_a_long_sweep(seed: int) -> None:
    check(seed)
