"""How every network of an experiment is trained and measured: the same for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net.experiments._results import Point
from net2net.experiments._tasks import Task
from net2net.training import flops_of

# A full-length run is measured so often; on so many examples while it goes on, and on all at its start and end.
POINTS, MEASURED = 20, 2000
_PART = 500
Tick = Callable[[float], None]


def train(
    model: nn.Module,
    optimizer: Optimizer,
    task: Task,
    *,
    steps: int,
    rate: float,
    seed: int,
    every: int,
    part: str,
    decays: bool = True,
    device: str = "cpu",
    tick: Tick = lambda fraction: None,
) -> tuple[tuple[Point, ...], float]:
    """Train in place, at the task's schedule; every group of the optimizer gets the same rate.

    Args:
        model, optimizer: on the device; the optimizer may hold state.
        steps: of the schedule.
        rate: its peak.
        seed: of the order of the data.
        every: steps between two points of the learning curve.
        part: the examples that the network is measured on: "choice" or "validation".
        decays: the schedule ends at zero.
        tick: is told which fraction of the run is finished since the last time.

    Returns:
        The learning curve, and the median seconds of a step: of processor time on the CPU, of wall time on a GPU.
    """
    inputs, targets = (t.to(device) for t in task.held_out(part))
    points = [_point(model, inputs, targets, 0, [], [])]
    losses: list[Tensor] = []
    rights: list[Tensor] = []
    # Other processes on the same cores slow a run down; on a GPU the processor only waits.
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds = []
    for step, (x, y) in enumerate(task.batches(steps, seed)):
        x, y = x.to(device), y.to(device)
        start = clock()
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * task.factor(step, steps, decays)
        logits = model(x)
        loss = cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
        optimizer.step()
        losses.append(loss.detach())
        rights.append((logits.detach().argmax(-1) == y).double().mean())
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(clock() - start)
        last = step + 1 == steps
        if last or (step + 1) % every == 0:
            most = None if last else MEASURED
            points.append(_point(model, inputs[:most], targets[:most], step + 1, losses, rights))
            tick(len(losses) / steps)
            losses, rights = [], []
    return tuple(points), statistics.median(seconds)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over all positions, in nats."""
    return nn.functional.cross_entropy(logits.flatten(0, -2), targets.flatten())


def flops_of_step(model: nn.Module, task: Task) -> float:
    """Floating-point operations of a forward and a backward pass over one batch, as `net2net.training.flops_of` counts
    them."""
    inputs, _ = next(iter(task.batches(1, 0)))
    return float(flops_of(model, (inputs,), {}))


def _point(
    model: nn.Module, inputs: Tensor, targets: Tensor, step: int, losses: list[Tensor], rights: list[Tensor]
) -> Point:
    model.eval()
    loss = right = 0.0
    with torch.no_grad():
        for x, y in zip(torch.split(inputs, _PART), torch.split(targets, _PART), strict=True):
            logits = model(x)
            loss += float(cross_entropy(logits, y)) * len(x)
            right += float((logits.argmax(-1) == y).double().mean()) * len(x)

    def mean(values: list[Tensor]) -> float | None:
        return float(torch.stack(values).double().mean()) if values else None

    return Point(step, mean(losses), mean(rights), loss / len(inputs), right / len(inputs))
