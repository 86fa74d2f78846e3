"""Carries out one course: warm-up, a stable rate, growths on the way, a linear decay; everything counted."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from net2net.errors import Net2NetWarning
from net2net.experiments._courses import Course, Ended, Stage
from net2net.experiments._starts import fresh
from net2net.experiments._states import after_growth
from net2net.experiments._tasks import TextTask, examples
from net2net.experiments._training import cross_entropy, flops_of_step
from net2net.growth import Growth
from net2net.operators import grow
from net2net.training import RAMP, warm_up_stable_decay

_CLIP, _PARTS, _POINTS = 1.0, 256, 40


@dataclass(frozen=True)
class Bench:
    """On what courses are carried out.

    Attributes:
        task: data, networks and optimizer.
        steps: of a course of length 1.
        device: "cpu" or "cuda".
    """

    task: TextTask
    steps: int
    device: str = "cpu"


def carry(
    bench: Bench, course: Course, rate: float, seed: int, tick: Callable[[float], None] = lambda f: None
) -> Ended:
    """Train a network from scratch to the end of its course.

    The seed fixes the weights and the order of the data, which is the same for all courses.

    Args:
        rate: the peak of the learning rate.
        tick: is told which fraction of the steps is finished.
    """
    task, device = bench.task, bench.device
    clock = time.process_time if device == "cpu" else time.perf_counter
    steps = max(2, round(bench.steps * course.length))
    stages = {max(1, round(stage.after * steps)): stage for stage in course.stages}
    model = fresh(task, course.shape, seed).to(device)
    optimizer = task.optimizer(model, rate)
    per_step = flops_of_step(model.cpu(), task)
    model.to(device)
    flops = growing = 0.0
    jumps, curve, losses = [], [], list[Tensor]()
    ramp, since = max(1, round(RAMP * steps)), steps
    begun, wall = clock(), time.perf_counter()
    for step, (x, y) in enumerate(task.batches(steps, seed)):
        if step in stages:
            start = clock()
            before = held_out(model, task, "choice", device)
            model, optimizer = after_growth(stages[step], _grown(model, stages[step], task, seed), optimizer)
            model.to(device)
            jumps.append(held_out(model, task, "choice", device) - before)
            per_step = flops_of_step(model.cpu(), task)
            model.to(device)
            growing += clock() - start
            since = 0 if stages[step].again else steps
        model.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * warm_up_stable_decay(step, steps) * min(1.0, (since + 1) / ramp)
        loss = cross_entropy(model(x.to(device)), y.to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
        nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
        optimizer.step()
        flops, since = flops + per_step, since + 1
        losses.append(loss.detach())
        if (step + 1) % max(1, steps // _POINTS) == 0 or step + 1 == steps:
            curve.append((step + 1, float(torch.stack(losses).mean())))
            losses = []
            tick((step + 1) / steps)
    seconds, wall = clock() - begun, time.perf_counter() - wall
    size = sum(p.numel() for p in model.parameters())
    choice, score = (held_out(model, task, part, device) for part in ("choice", "validation"))
    return Ended(
        course.key, rate, seed, steps, flops, choice, score, seconds, wall, growing, size, tuple(jumps), tuple(curve)
    )  # fmt: skip


def _grown(model: nn.Module, stage: Stage, task: TextTask, seed: int) -> Growth:
    """The growth of a stage, on the processor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Net2NetWarning)  # courses that break the function are part of the question
        return grow(model.cpu(), examples(task, seed, 1)[0], seed=seed, **stage.growth)


def held_out(model: nn.Module, task: TextTask, part: str, device: str) -> float:
    """The mean loss on a held-out part."""
    inputs, targets = task.held_out(part)
    model.eval()
    total = 0.0
    with torch.no_grad():
        for x, y in zip(torch.split(inputs, _PARTS), torch.split(targets, _PARTS), strict=True):
            total += float(cross_entropy(model(x.to(device)), y.to(device))) * len(x)
    return total / len(inputs)
