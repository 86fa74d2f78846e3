"""How every network of the demo is trained and measured: the same for all of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from net2net.demo._data import Split, batches

BATCH, PART = 64, 256
MOMENTUM, DECAY = 0.9, 5e-4
Tick = Callable[[], None]


@dataclass(frozen=True)
class Curve:
    """Accuracy after so many steps; the first point is step 0, before any training."""

    steps: tuple[int, ...]
    accuracy: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean accuracy over the run: high for a network that is good early and stays good."""
        return sum(self.accuracy) / len(self.accuracy)

    def reaches(self, level: float) -> int | None:
        """The first measured step at which the accuracy is at least `level`."""
        return next((s for s, a in zip(self.steps, self.accuracy, strict=True) if a >= level), None)


def accuracy(model: nn.Module, split: Split) -> float:
    """The fraction of the images whose digit the model gets right."""
    model.eval()
    with torch.no_grad():  # in parts that fit the processor's cache
        found = torch.cat([model(images).argmax(dim=1) for images in torch.split(split.images, PART)])
    return float((found == split.digits).double().mean())


def train(
    model: nn.Module,
    training: Split,
    measured: Split,
    *,
    steps: int,
    rate: float,
    seed: int,
    every: int,
    tick: Tick,
) -> Curve:
    """Train in place with SGD and a cosine schedule; measure at the start, the end, and in between."""
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=MOMENTUM, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * s / steps)))
    points = {0: accuracy(model, measured)}
    for step, batch in enumerate(batches(training, BATCH, steps, seed), start=1):
        model.train()
        loss = nn.functional.cross_entropy(model(batch.images), batch.digits)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == steps:
            points[step] = accuracy(model, measured)
        tick()
    return Curve(tuple(points), tuple(points.values()))
