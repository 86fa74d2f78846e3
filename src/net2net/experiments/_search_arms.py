"""The arms of the experiment on search: what each does with the same number of operations."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.experiments._language import LanguageShape
from net2net.experiments._tasks import ImageTask, Task
from net2net.experiments._training import cross_entropy
from net2net.operators import grow
from net2net.training import flops_of

_PART = 500
_TEACHER, _ORDER = 50_000, 10_000  # seeds of batches: of the teacher, and of everybody else
# Growths that somebody would choose by hand; the best one is reported.
BY_HAND: dict[str, dict[str, Any]] = {"all twice as wide": {"sizes": 2.0}, "twice as deep": {"where": "2x"}}


@dataclass(frozen=True)
class Outcome:
    """What an arm ended with: scores of its best network on the part to choose on, and on the one to report on.

    `compute` are floating-point operations of all its training, the teacher's own left out; `networks` counts what it
    trained; `best` says what the best one is.
    """

    arm: str
    seed: int
    score: float
    choice: float
    compute: float
    parameters: int
    networks: int
    best: str


@dataclass(frozen=True)
class Bench:
    """What the arms share: the data, the length of a trial, the peak of its learning rate, a folder for one seed."""

    task: Task
    steps: int
    rate: float
    trials: int
    teacher_steps: int
    folder: Path
    seed: int

    @property
    def sign(self) -> int:
        """1 where a lower score is better."""
        return 1 if self.task.metric == "loss" else -1

    @property
    def inputs(self) -> torch.Tensor:
        """A batch to prove growths on."""
        return next(iter(self.task.batches(1, _ORDER + self.seed)))[0][:16]

    def trained(self, model: nn.Module, optimizer: Optimizer, steps: int, order: int) -> None:
        """Train in place, at the task's schedule."""
        model.train()
        for step, (x, y) in enumerate(self.task.batches(steps, order)):
            for group in optimizer.param_groups:
                group["lr"] = self.rate * self.task.factor(step, steps, True)
            optimizer.zero_grad()
            cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
            optimizer.step()

    def score(self, model: nn.Module, part: str) -> float:
        """Accuracy or loss on a part of the held-out examples."""
        model.eval()
        total = count = 0.0
        with torch.no_grad():
            for x, y in zip(*(torch.split(t, _PART) for t in self.task.held_out(part)), strict=True):
                logits = model(x)
                right = self.task.metric == "accuracy"
                mean = (logits.argmax(-1) == y).double().mean() if right else cross_entropy(logits, y)
                total, count = total + float(mean) * len(x), count + len(x)
        return total / count

    def loop(self, model: nn.Module, optimizer: Optimizer, trial: Any) -> float:
        """What a search calls for every trial."""
        self.trained(model, optimizer, self.steps, _ORDER * (self.seed + 1) + trial.number)
        return self.score(model, "choice")

    def step_flops(self, model: nn.Module) -> float:
        """Floating-point operations of a training step."""
        x, _ = next(iter(self.task.batches(1, 0)))
        return float(flops_of(model.train(), (x,), {}))

    def teacher(self) -> tuple[nn.Module, Optimizer]:
        """The teacher with its optimizer, trained once and kept."""
        file = self.folder / "teacher.pt"
        torch.manual_seed(self.seed)
        model = small(self.task)
        optimizer = self.task.optimizer(model, self.rate)
        if not file.exists():
            self.trained(model, optimizer, self.teacher_steps, _TEACHER + self.seed)
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
        saved = torch.load(file, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        for group in optimizer.param_groups:
            group["lr"] = self.rate
        return model, optimizer


def small(task: Task) -> nn.Module:
    """The teacher's network: three convolutions, or a Llama of two blocks."""
    if not isinstance(task, ImageTask):
        return task.build(LanguageShape(16, 2, head=8))
    channels = task.data.training.images.shape[1]
    layers: list[nn.Module] = []
    for before, after, stride in ((channels, 4, 2), (4, 8, 2), (8, 8, 1)):
        layers += [nn.Conv2d(before, after, 3, stride, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, task.data.classes))


def search(bench: Bench, arm: str, inherit: bool, at_least: float) -> Outcome:
    """Explore until so many trials, or, with a number of operations, until those are used."""
    from net2net.exploration import explore, write_report

    teacher, optimizer = bench.teacher()
    folder, count = bench.folder / arm, bench.trials if not at_least else 1
    while True:
        found = explore(
            teacher, bench.inputs, bench.loop, trials=count, optimizer=optimizer, folder=folder, keep=8,
            direction="minimize" if bench.sign == 1 else "maximize", inherit=inherit, ramp=max(1, bench.steps // 4),
            seed=1000 * bench.seed,
        )  # fmt: skip
        compute = sum(t.compute for t in found.trials)
        if compute >= at_least:
            break
        count += 1
    write_report(found, folder / "report.html")
    best = found.best
    grown = "; ".join(json.dumps(growth) for growth in best.growths) or "nothing grew"
    size = sum(p.numel() for p in best.model.parameters())
    score = bench.score(best.model, "validation")
    return Outcome(arm, bench.seed, score, best.score, compute, size, sum(t.counts for t in found.trials), grown)


def alone(bench: Bench, arm: str, growths: dict[str, dict[str, Any]], compute: float) -> Outcome:
    """Each growth trained once for so many operations; the one that is best on the part to choose on is reported."""
    found = []
    for name, growth in growths.items():
        model, optimizer = bench.teacher()
        if growth:
            grown = grow(model, bench.inputs, seed=bench.seed, **growth)
            model, optimizer = grown.student, grown.optimizer(optimizer, ramp=max(1, bench.steps // 4))
        flops = bench.step_flops(model)
        steps = max(1, round(compute / flops))
        bench.trained(model, optimizer, steps, _ORDER * (bench.seed + 1))
        scores = bench.score(model, "validation"), bench.score(model, "choice")
        size = sum(p.numel() for p in model.parameters())
        found.append(Outcome(arm, bench.seed, *scores, steps * flops, size, len(growths), name))
    return min(found, key=lambda outcome: bench.sign * outcome.choice)


def arms(bench: Bench, done: dict[str, Outcome], write: Callable[[Outcome], None]) -> None:
    """Run what is missing, one arm after the other; the search with inheritance first, whose operations all others get.

    Random initialisation needs no teacher, and gets the operations of its training on top.
    """

    def once(arm: str, run: Callable[[], Outcome]) -> None:
        if arm not in done:
            done[arm] = run()
            write(done[arm])

    once("inheritance", lambda: search(bench, "inheritance", True, 0.0))
    compute = done["inheritance"].compute
    model, _ = bench.teacher()
    counted = compute + bench.teacher_steps * bench.step_flops(model)
    once("random", lambda: search(bench, "random", False, counted))
    once("by_hand", lambda: alone(bench, "by_hand", BY_HAND, compute))
    once("teacher", lambda: alone(bench, "teacher", {"the teacher": {}}, compute))


def as_line(outcome: Outcome) -> str:
    """An outcome as a line of JSON."""
    return json.dumps({"outcome": asdict(outcome)})
