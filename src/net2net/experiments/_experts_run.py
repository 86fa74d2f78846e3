"""Carries out the experiment on experts: teachers, then every arm from them; each run is written down when it ends."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net.errors import Net2NetWarning
from net2net.experiments._carry import held_out
from net2net.experiments._experts import ARMS, DENSE, MIXTURE, ExpertArm, ExpertSize
from net2net.experiments._experts_model import BALANCE, balanced, build
from net2net.experiments._experts_results import ExpertResults, ExpertRun, add, begin
from net2net.experiments._plan import CHOICE_SEED
from net2net.experiments._tasks import TextTask, examples
from net2net.experiments._training import cross_entropy
from net2net.moe import expert_scores, upcycle
from net2net.optimizer import grow_optimizer
from net2net.training import counting

TEACHERS = (MIXTURE, DENSE)
# What comes after a teacher sees other batches than it saw.
_AFTER = 10_000
_CLIP, _POINTS, _SOME = 1.0, 10, 128


@dataclass(frozen=True)
class Start:
    """A network before a run, with its optimizer; the error of a growth, and FLOPs that its making took."""

    model: nn.Module
    optimizer: Optimizer
    error: float | None = None
    scoring: float = 0.0


@dataclass(frozen=True)
class ExpertBench:
    """On what it is carried out: the text, the sizes, the folder for teachers."""

    task: TextTask
    size: ExpertSize
    folder: Path
    device: str = "cpu"

    def teacher_file(self, name: str, rate: float, seed: int) -> Path:
        return self.folder / "teachers" / f"{name}.rate-{rate:g}.seed-{seed}.pt"

    def fresh(self, name: str, seed: int) -> Start:
        """A network with random weights: a teacher, or a mixture with all experts."""
        small, large = self.size.experts
        experts = {MIXTURE: small, DENSE: 0}.get(name, large)
        model = build(self.size, self.task.data.vocabulary, experts, seed).to(self.device)
        return Start(model, self.task.optimizer(model, 0.0))

    def teacher(self, name: str, rate: float, seed: int) -> Start:
        """A teacher as its training left it."""
        start = self.fresh(name, seed)
        saved = torch.load(self.teacher_file(name, rate, seed), map_location=self.device, weights_only=True)
        start.model.load_state_dict(saved["model"])
        start.optimizer.load_state_dict(saved["optimizer"])
        return start

    def grown(self, arm: ExpertArm, teacher: Start, seed: int) -> Start:
        """What an arm makes of its teacher."""
        if arm.options is None:
            return teacher
        small, large = self.size.experts
        inputs = [x.to(self.device) for x in examples(self.task, seed, 1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Net2NetWarning)  # arms that break the function are part of the question
            scores, flops = self._scores(teacher.model, seed) if arm.scored else (None, 0.0)
            experts = small if arm.teacher == DENSE else large
            growth = upcycle(teacher.model, experts, inputs, scores=scores, seed=seed, **arm.options)
        # The rise of the rate is the task's own: the same in every arm.
        optimizer = grow_optimizer(growth.plan, growth.teacher, growth.student, teacher.optimizer, ramped=True)
        return Start(growth.student, optimizer, growth.verification.max_relative_error, flops)

    def _scores(self, model: nn.Module, seed: int) -> tuple[dict[str, Tensor], float]:
        batches = [
            (x.to(self.device), y.to(self.device)) for x, y in self.task.batches(self.size.scoring, _AFTER + seed)
        ]
        with counting() as counter:
            found = expert_scores(model.train(), batches, lambda m, batch: cross_entropy(m(batch[0]), batch[1]))
        return found, float(counter.get_total_flops())

    def run(self, arm: str, start: Start, rate: float, seed: int) -> ExpertRun:
        """Train a network; teachers end in the middle of a schedule, at a constant rate."""
        task, size, model = self.task, self.size, start.model
        first = task.batches(size.steps, seed) if arm in (*TEACHERS, "scratch") else iter(())
        second = task.batches(size.steps, _AFTER + seed) if arm not in TEACHERS else iter(())
        steps = size.steps * (2 if arm == "scratch" else 1)
        part = "choice" if seed == CHOICE_SEED else "validation"
        clock = time.process_time if self.device == "cpu" else time.perf_counter
        before, seconds, flops = held_out(model, task, part, self.device), 0.0, 0.0
        curve = [(0, self._some(model, part))]
        for step, (x, y) in enumerate(itertools.chain(first, second)):
            begun = clock()
            model.train()
            for group in start.optimizer.param_groups:
                group["lr"] = rate * task.factor(step, steps, arm not in TEACHERS)
            with counting() if step == 0 else contextlib.nullcontext() as counter:
                loss = cross_entropy(model(x.to(self.device)), y.to(self.device))
                start.optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
            flops = flops if counter is None else float(counter.get_total_flops())
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            start.optimizer.step()
            balanced(model)
            seconds += clock() - begun
            if (step + 1) % max(1, steps // _POINTS) == 0:
                curve.append((step + 1, self._some(model, part)))
        choice, score = (held_out(model, task, name, self.device) for name in ("choice", "validation"))
        return ExpertRun(
            arm, rate, seed, steps, steps * size.batch * size.length, steps * flops, before, choice, score,
            sum(p.numel() for p in model.parameters()), seconds, start.error, start.scoring, tuple(curve),
        )  # fmt: skip

    def _some(self, model: nn.Module, part: str) -> float:
        inputs, targets = (t.to(self.device) for t in self.task.held_out(part, _SOME))
        model.eval()
        with torch.no_grad():
            return float(cross_entropy(model(inputs), targets))

    def carried_out(self, job: Job, rate: float, teacher_rate: float) -> ExpertRun:
        """A job with its rate; a teacher is kept for the arms."""
        arm = next((a for a in ARMS if a.key == job.arm), None)
        if arm is None or not arm.teacher:
            start = self.fresh(job.arm, job.seed)
        else:
            start = self.grown(arm, self.teacher(arm.teacher, teacher_rate, job.seed), job.seed)
        run = self.run(job.arm, start, rate, job.seed)
        if arm is None:
            file = self.teacher_file(job.arm, rate, job.seed)
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".new")
            torch.save({"model": start.model.state_dict(), "optimizer": start.optimizer.state_dict()}, partial)
            os.replace(partial, file)
        return run


@dataclass(frozen=True)
class Job:
    """A teacher or an arm, with a seed; `rate` is None where it is the one that was chosen."""

    arm: str
    seed: int
    rate: float | None = None


def jobs(size: ExpertSize, seeds: Sequence[int]) -> Iterator[Job]:
    """All runs in their order: rates are chosen first, by a seed that isn't reported."""
    keys = [arm.key for arm in ARMS]
    for names in (TEACHERS, keys):
        yield from (Job(name, CHOICE_SEED, rate) for name in names for rate in size.rates)
    for seed in seeds:
        yield from (Job(name, seed) for name in (*TEACHERS, *keys))


def chosen(results: ExpertResults, arm: str) -> float:
    """The rate of a teacher or an arm: the one with the lowest loss; one that diverged is none."""
    tried = results.of(arm, CHOICE_SEED)
    return min(tried, key=lambda rate: tried[rate].choice if math.isfinite(tried[rate].choice) else math.inf)


def run_experts(
    task: TextTask,
    size: ExpertSize,
    folder: Path,
    *,
    seeds: Sequence[int],
    device: str = "cpu",
    progress: Callable[[float, float], None] | None = None,
) -> ExpertResults:
    """Carry out what the folder doesn't hold yet, one run after another.

    An interruption (Ctrl-C) ends the training, not the report of what is finished.

    Raises:
        OptionError: the folder holds results of other settings.
    """
    file = folder / "results.jsonl"
    results = begin(file, settings_of(task, size))
    bench = ExpertBench(task, size, folder, device)
    planned = list(jobs(size, seeds))
    with contextlib.suppress(KeyboardInterrupt):
        for number, job in enumerate(planned):
            if progress is not None:
                progress(number, len(planned))
            rate = chosen(results, job.arm) if job.rate is None else job.rate
            if rate in results.of(job.arm, job.seed):
                continue
            arm = next((a for a in ARMS if a.key == job.arm), None)
            teacher_rate = chosen(results, arm.teacher) if arm is not None and arm.teacher else 0.0
            run = bench.carried_out(job, rate, teacher_rate)
            add(file, run)
            results = ExpertResults(results.settings, (*results.runs, run))
    return results


def settings_of(task: TextTask, size: ExpertSize) -> dict[str, Any]:
    """The first line of the results file: whatever is the same in all runs."""
    arms = {arm.key: {"options": arm.options, "scored": arm.scored, "teacher": arm.teacher} for arm in ARMS}
    return {
        "experiment": "experts",
        "data": task.name,
        **task.settings,
        **asdict(size),
        "balance": BALANCE,
        "arms": arms,
    }
