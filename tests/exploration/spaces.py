"""A search for the command line, and for workers in processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

X, Y = torch.randn(64, 4, generator=torch.Generator().manual_seed(1)), torch.linspace(-1, 1, 64)[:, None]
space = {"0": [12, 16], "deepen 0": [1]}
ramp = 2


def teacher() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def example_inputs() -> torch.Tensor:
    return X[:2]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, trial: Any) -> float:
    """A few steps; where a file is named, it is written when the trial begins, which then takes its time."""
    if sign := os.environ.get("NET2NET_TEST_BEGUN"):
        Path(sign).write_text(str(trial.number))
        while not Path(sign).with_name("hurry").exists():
            time.sleep(0.05)
    loss = torch.zeros(())
    for step in range(5):
        optimizer.zero_grad()
        loss = (model(X) - Y).square().mean()
        loss.backward()
        optimizer.step()
        trial.report(loss.item(), step)
    return loss.item()
