"""Carries out the experiment on growing projections, one run after another; each is written down when it ends."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from net2net.experiments._carry import Bench, carry
from net2net.experiments._courses import Course, Ended, file_name, keep, kept, open_folder
from net2net.experiments._nexus import NexusSize, courses
from net2net.experiments._plan import CHOICE_SEED
from net2net.experiments._starts import fresh
from net2net.experiments._tasks import TextTask
from net2net.experiments._training import flops_of_step


@dataclass(frozen=True)
class NexusResults:
    """The finished runs of an experiment.

    Attributes:
        size, data, seeds: what it was run with.
        courses: its arms.
        runs: those that are written down.
    """

    size: NexusSize
    data: str
    seeds: tuple[int, ...]
    courses: tuple[Course, ...]
    runs: tuple[Ended, ...] = ()

    def rate(self, course: Course) -> float | None:
        """A course's learning rate: the one with the lowest loss on the part for choices, by a seed that isn't
        reported; None if it has no such run yet."""
        tried = [run for run in self.runs if run.course == course.rate_of and run.seed == CHOICE_SEED]
        best = min(tried, key=lambda run: run.choice if math.isfinite(run.choice) else math.inf, default=None)
        return None if best is None else best.rate

    def of(self, course: Course) -> dict[int, Ended]:
        """The reported runs of a course, by seed."""
        rate = self.rate(course)
        found = (run for run in self.runs if (run.course, run.rate) == (course.key, rate))
        return {run.seed: run for run in found if run.seed in self.seeds}


def jobs(results: NexusResults) -> Iterator[tuple[Course, float, int]]:
    """All runs that can be named, in their order: rates are chosen first."""
    for course in results.courses:
        if course.tuned:
            yield from ((course, rate, CHOICE_SEED) for rate in results.size.rates)
    for seed in results.seeds:
        for course in results.courses:
            rate = results.rate(course)
            if rate is not None:
                yield course, rate, seed


def run_nexus(
    task: TextTask,
    size: NexusSize,
    folder: Path,
    *,
    seeds: Sequence[int],
    device: str = "cpu",
    progress: Callable[[float, float], None] | None = None,
) -> NexusResults:
    """Carry out what the folder doesn't hold yet.

    An interruption (Ctrl-C) ends the training, not the report of what is finished.

    Raises:
        OptionError: the folder holds runs of other settings.
    """
    flops = [flops_of_step(fresh(task, size.shape(k), 0), task) for k in range(len(size.inner))]
    arms = courses(size, flops)
    runs = open_folder(folder, {"experiment": "nexus", "data": task.name, **task.settings, **asdict(size)})
    bench = Bench(task, size.steps, device)

    def so_far() -> NexusResults:
        return NexusResults(size, task.name, tuple(seeds), arms, tuple(kept(runs)))

    every = len(size.rates) * sum(c.tuned for c in arms) + len(seeds) * len(arms)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            results = so_far()
            names = {run.name for run in results.runs}
            waiting = [job for job in jobs(results) if file_name(job[0].key, *job[1:]) not in names]
            if progress is not None:
                progress(min(len(names), every), every)
            if not waiting:
                break
            keep(runs, carry(bench, *waiting[0]))
    return so_far()
