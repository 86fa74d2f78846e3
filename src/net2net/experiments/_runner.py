"""Carries out an experiment: every run once, several at a time, each written down when its job is finished."""

from __future__ import annotations

import copy
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net._version import __version__
from net2net.experiments._experiment import Experiment
from net2net.experiments._plan import Costs, Job, jobs, ready
from net2net.experiments._results import TEACHER, Header, Results, Run, append, start_file
from net2net.experiments._starts import fresh, start
from net2net.experiments._tasks import Task
from net2net.experiments._training import POINTS, flops_of_step, train

# A student sees other batches than its teacher saw.
_STUDENT_ORDER = 10_000
Progress = Callable[[float, float], None]


@dataclass(frozen=True)
class Workshop:
    """What a worker needs for any job of an experiment."""

    experiment: Experiment
    task: Task
    costs: Costs
    folder: Path
    device: str


# Of a worker process: set once, when it starts.
_shop: Workshop
_done: Any  # FLOPs that all workers have done, shared between them


def carry_out(
    experiment: Experiment,
    task: Task,
    folder: Path,
    *,
    seeds: tuple[int, ...],
    workers: int = 1,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Results:
    """Run everything that an experiment needs and that the folder doesn't hold yet.

    Args:
        experiment, task: what is compared, on what.
        folder: gets "results.jsonl", and the trained teachers.
        seeds: of the reported runs.
        workers: processes that train at the same time, with one core each.
        device: "cpu" or "cuda".
        progress: is called with the FLOPs that are done and those that there are in all.

    Returns:
        All results.

    Raises:
        OptionError: the folder holds results of other settings.
    """
    shapes = {TEACHER: experiment.teacher} | {group.name: group.shape for group in experiment.groups}
    costs = Costs(experiment, {name: flops_of_step(fresh(task, s, 0), task) for name, s in shapes.items()})
    file = folder / "results.jsonl"
    results = start_file(file, header_of(experiment, task, seeds))
    total = sum(map(costs.of, jobs(experiment, seeds, costs, results)))
    before = sum(run.steps * run.flops for run in results.runs)
    context = multiprocessing.get_context("spawn")
    done = context.Value("d", 0.0)
    shop = Workshop(experiment, task, costs, folder, device)
    running: dict[Future[list[Run]], Job] = {}
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(shop, done))
    try:
        while True:
            finished = {run.key for run in results.runs}
            waiting = [j for j in jobs(experiment, seeds, costs, results) if ready(j, finished)]
            for job in sorted(waiting, key=costs.of, reverse=True):
                if job not in running.values():
                    running[pool.submit(_carry_out, job, job.keys & finished)] = job
            if not running:
                return results
            some, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
            for future in some:
                for run in future.result():
                    append(file, run)
                    results = replace(results, runs=(*results.runs, run))
                del running[future]
            if progress is not None:
                progress(before + done.value, total)
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C ends what runs; what waits is left for another time


def header_of(experiment: Experiment, task: Task, seeds: tuple[int, ...]) -> Header:
    """The first line of the results file."""
    return Header(
        experiment=experiment.name,
        title=experiment.title,
        data=task.name,
        metric=task.metric,
        arms=experiment.labels(),
        groups={group.name: tuple(arm.key for arm in group.arms) for group in experiment.groups},
        budgets=experiment.budgets,
        rates=experiment.rates,
        choice_budgets=experiment.choice_budgets,
        seeds=seeds,
        steps=experiment.steps,
        settings={
            "teacher": repr(experiment.teacher),
            "students": {group.name: repr(group.shape) for group in experiment.groups},
            "arms": {arm.key: {"kind": arm.kind, **arm.options} for _, arm in experiment.arms()},
            "teacher_budget": experiment.teacher_budget,
            "teacher_decays": experiment.teacher_decays,
            **task.settings,
        },
        version=__version__,
    )


def _begin(shop: Workshop, done: Any) -> None:
    global _shop, _done
    _shop, _done = shop, done
    torch.set_num_threads(1)


def _carry_out(job: Job, finished: set[tuple[str, float, str, float, int]]) -> list[Run]:
    """The runs of a job that aren't finished."""
    experiment, task, costs, device = _shop.experiment, _shop.task, _shop.costs, _shop.device
    group, arm = experiment.find(job.arm)
    order = job.seed if arm is None else _STUDENT_ORDER + job.seed
    model, optimizer, error = _start(job)
    found = []
    for budget, rate in job.runs:
        if (job.arm, round(budget, 6), job.phase, rate, job.seed) in finished:
            continue
        # Copied together, so that the copy of the optimizer holds the copied parameters.
        mine, own = copy.deepcopy((model, optimizer))
        mine.to(device)
        own.load_state_dict(own.state_dict())  # brings its state to where the parameters are
        steps, flops = costs.steps(group, arm, budget), costs.of_step(group, arm)

        def tick(fraction: float, cost: float = steps * flops) -> None:
            with _done.get_lock():
                _done.value += fraction * cost

        points, seconds = train(
            mine,
            own,
            task,
            steps=steps,
            rate=rate,
            seed=order,
            every=max(1, experiment.steps // POINTS),
            part="choice" if job.phase == "choice" else "validation",
            decays=arm is not None or experiment.teacher_decays,
            device=device,
            tick=tick,
        )
        size = sum(p.numel() for p in mine.parameters())
        found.append(Run(job.arm, budget, job.phase, rate, steps, job.seed, flops, seconds, size, error, points))
        if arm is None and job.phase == "final":
            _save(mine.cpu(), own, _teacher_file(job.seed))
    return found


def _start(job: Job) -> tuple[nn.Module, Optimizer, float | None]:
    experiment, task = _shop.experiment, _shop.task
    group, arm = experiment.find(job.arm)
    if group is None or arm is None or job.teacher is None:
        model = fresh(task, experiment.teacher if group is None else group.shape, job.seed)
        return model, task.optimizer(model, 0.0), None
    teacher = task.build(experiment.teacher)
    optimizer = task.optimizer(teacher, 0.0)
    saved = torch.load(_teacher_file(job.teacher), map_location="cpu", weights_only=True)
    teacher.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    return start(arm, group, task, teacher.eval(), optimizer, job.seed)


def _teacher_file(seed: int) -> Path:
    return _shop.folder / "teachers" / f"{seed}.pt"


def _save(model: nn.Module, optimizer: Optimizer, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".new")
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, partial)
    os.replace(partial, file)
