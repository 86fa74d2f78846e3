"""The loss of a run through a growth, right and wrong: docs/images/growth_in_training.svg.

A small network learns digits under noise with AdamW; after 800 steps its hidden layers get eight times as wide. The
arms differ in what becomes of the optimizer. Means over seeds, the same batches in every arm.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

import net2net

matplotlib.use("Agg")
from matplotlib import pyplot

BEFORE, AFTER, FACTOR, RATE = 800, 800, 8.0, 2e-3
NEAR = (10, 50)  # steps before and after the growth in the second picture
ARMS = {
    "teacher trains on": "0.6",
    "growth.optimizer (state carried, ramp)": "C0",
    "fresh AdamW, no ramp": "C1",
    "zeros for new entries, old step counter, no ramp": "C3",
    "random new units (not function-preserving), fresh AdamW": "C4",
}


def batches(seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    digits = load_digits()
    x = torch.tensor(digits.data / 16.0, dtype=torch.float32)
    y = torch.tensor(digits.target)
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(BEFORE + AFTER):
        rows = torch.randint(0, len(x), (256,), generator=generator)
        result.append((x[rows] + 0.7 * torch.randn(256, 64, generator=generator), y[rows]))
    return result


def train(model: nn.Module, optimizer: torch.optim.Optimizer, some: list[Any]) -> list[float]:
    losses = []
    for x, y in some:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def with_zeros(growth: net2net.Growth, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """What a patch of the state by hand does: the old entries in a corner, zeros elsewhere."""
    result = torch.optim.AdamW(growth.student.parameters(), lr=RATE)
    theirs = dict(growth.teacher.named_parameters())
    for name, parameter in growth.student.named_parameters():
        state = optimizer.state[theirs[name]]
        result.state[parameter] = {"step": state["step"].clone()}
        for key in ("exp_avg", "exp_avg_sq"):
            padded = torch.zeros_like(parameter)
            padded[tuple(slice(0, s) for s in state[key].shape)] = state[key]
            result.state[parameter][key] = padded
    return result


def one(seed: int) -> dict[str, list[float]]:
    torch.manual_seed(seed)
    teacher = nn.Sequential(
        nn.Linear(64, 24), nn.LayerNorm(24), nn.GELU(), nn.Linear(24, 24), nn.GELU(), nn.Linear(24, 10)
    )
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=RATE)
    every = batches(seed)
    before, rest = train(teacher, optimizer, every[:BEFORE]), every[BEFORE:]
    x = every[0][0][:8]
    growth = net2net.widen(teacher, FACTOR, x)
    padded = net2net.widen(teacher, FACTOR, x, how="random_pad")
    runs: list[tuple[nn.Module, torch.optim.Optimizer]] = [
        copy.deepcopy((teacher, optimizer)),
        (growth.student, growth.optimizer(optimizer)),
    ]
    again = growth.replay(teacher)
    runs.append((again.student, torch.optim.AdamW(again.student.parameters(), lr=RATE)))
    again = growth.replay(teacher)
    runs.append((again.student, with_zeros(again, optimizer)))
    runs.append((padded.student, torch.optim.AdamW(padded.student.parameters(), lr=RATE)))
    return {name: before + train(*run, rest) for name, run in zip(ARMS, runs, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--output", type=Path, default=Path("docs/images/growth_in_training.svg"))
    arguments = parser.parse_args()
    runs = [one(seed) for seed in range(arguments.seeds)]
    figure, (whole, near) = pyplot.subplots(1, 2, figsize=(11, 4))
    for name, colour in ARMS.items():
        losses = np.array([run[name] for run in runs]).mean(0)
        means = losses.reshape(-1, 20).mean(1)
        whole.plot(np.arange(len(means)) * 20 + 10, means, color=colour, label=name, linewidth=1.2)
        before, after = NEAR
        near.plot(range(-before, after), losses[BEFORE - before : BEFORE + after], color=colour, linewidth=1.2)
        own = np.array([run["teacher trains on"] for run in runs]).mean(0)
        peak = losses[BEFORE : BEFORE + 30].max() / own[BEFORE : BEFORE + 30].max()
        print(f"{name:58} largest loss of 30 steps / teacher's: {peak:.2f}   last 50 steps: {losses[-50:].mean():.4f}")
    whole.set_ylim(0.97 * losses[-50:].mean(), 2 * losses[-50:].mean())
    for axes, title in ((whole, "whole run (means of 20 steps)"), (near, "around the growth")):
        axes.set_title(title, loc="left", fontsize=10)
        axes.set_xlabel("step" if axes is whole else "steps after the growth")
        axes.set_ylabel("training loss")
        axes.axvline(BEFORE if axes is whole else 0, color="0.8", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
    whole.legend(frameon=False, fontsize=8, loc="upper right")
    figure.tight_layout()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.output)


if __name__ == "__main__":
    main()
