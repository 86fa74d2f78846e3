"""Grown networks against the frontier: the best that networks of one size reach with as many FLOPs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from net2net.experiments._carry import Bench, carry
from net2net.experiments._courses import Course, Ended, file_name, keep, kept, open_folder
from net2net.experiments._late import Late, chosen, jobs
from net2net.experiments._statistics import Interval, interval
from net2net.experiments._tasks import TextTask
from net2net.experiments._text import load_text


@dataclass(frozen=True)
class Place:
    """Where a course ended.

    Attributes:
        course: which.
        rate: its own, chosen from `rates`.
        rates: those that were tried, with the losses that they were chosen by.
        seeds: how many.
        flops: relative to the full-size network; the small network's are in it.
        score: the final loss.
        behind_full: its loss less that of the full-size network, seed by seed; None for that network itself.
        above: its loss less that of the frontier at its FLOPs, seed by seed; None for networks of one size.
        seconds, wall: relative to the full-size network, growths included; the first is processor time.
        growing: the part of `seconds` that growths took.
        jumps: the largest change of the loss at a growth.
    """

    course: Course
    rate: float
    rates: Mapping[float, float]
    seeds: int
    flops: float
    score: Interval
    behind_full: Interval | None
    above: Interval | None
    seconds: float
    wall: float
    growing: float
    jump: float

    @property
    def grown(self) -> bool:
        """Whether it grew on the way."""
        return bool(self.course.stages)


@dataclass(frozen=True)
class Frontier:
    """What an experiment of courses found.

    Attributes:
        late: the experiment.
        data: what was learned from.
        steps, seeds: of it.
        places: of all courses with a run, by FLOPs.
        corners: keys of the networks of one size that the frontier goes through.
        missing: labels of the courses with no run.
    """

    late: Late
    data: str
    steps: int
    seeds: tuple[int, ...]
    places: tuple[Place, ...]
    corners: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def full(self) -> Place | None:
        """The network of the full size, trained for all steps."""
        return next((p for p in self.places if p.course.key == self.late.full), None)


def study(
    late: Late,
    folder: Path,
    data: Path | None,
    *,
    seeds: tuple[int, ...],
    steps: int | None = None,
    device: str = "cpu",
    progress: Callable[[float, float], None] | None = None,
) -> Frontier:
    """Carry out what the folder doesn't hold yet, one run after another.

    An interruption (Ctrl-C) ends the training, not the report of what is finished.

    Raises:
        OptionError: the folder holds runs of other settings, or there is no text.
    """
    late = late if steps is None else replace(late, steps=steps)
    text = load_text(data)
    task = TextTask(text, late.batch, late.context)
    settings = {"experiment": late.name, "full": repr(late.course(late.full).shape), "steps": late.steps}
    runs = open_folder(folder, {**settings, "data": text.name, **task.settings})
    bench = Bench(task, late.steps, device)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C ends the training; what is finished is reported
        while True:
            done = list(kept(runs))
            names = {run.name for run in done}
            planned = dict.fromkeys(jobs(late, seeds, done))
            waiting = [job for job in planned if file_name(*job) not in names]
            if progress is not None:
                progress(len(planned) - len(waiting), len(planned))
            if not waiting:
                break
            key, rate, seed = waiting[0]
            keep(runs, carry(bench, late.course(key), rate, seed))
    return frontier(late, text.name, seeds, list(kept(runs)))


def frontier(late: Late, data: str, seeds: Sequence[int], done: Sequence[Ended]) -> Frontier:
    """What the runs that are there say; also in the middle of an experiment.

    The frontier goes through the networks of one size whose mean losses lie on the lower convex hull over the logarithm
    of the FLOPs; between two of them it is a line. A grown network is compared seed by seed.
    """
    mine = {
        c.key: {r.seed: r for r in done if r.course == c.key and r.rate == chosen(late, c, done)} for c in late.courses
    }
    mine = {key: {seed: run for seed, run in runs.items() if seed in seeds} for key, runs in mine.items()}
    full = mine[late.full]
    if not full:
        return Frontier(late, data, late.steps, tuple(seeds), (), (), tuple(c.label for c in late.courses))
    unit = next(iter(full.values()))
    fixed = [c for c in late.courses if not c.stages and mine[c.key]]
    points = {c.key: (math.log(_mean(mine[c.key], "flops")), _mean(mine[c.key], "score")) for c in fixed}
    corners = hull(points)
    places = []
    for course in late.courses:
        runs = mine[course.key]
        if not runs:
            continue
        both = [seed for seed in runs if seed in full]
        gaps = [runs[s].score - at(corners, points, mine, s, runs[s].flops) for s in both] if course.stages else []
        tried = {r.rate: r.choice for r in done if r.course == course.key and r.seed == seeds[0]}
        places.append(
            Place(
                course,
                chosen(late, course, done),
                dict(sorted(tried.items())),
                len(runs),
                _mean(runs, "flops") / unit.flops,
                interval([run.score for run in runs.values()]),
                interval([runs[s].score - full[s].score for s in both]) if course.key != late.full and both else None,
                interval(gaps) if gaps else None,
                _mean(runs, "seconds") / _mean(full, "seconds"),
                _mean(runs, "wall") / _mean(full, "wall"),
                _mean(runs, "growing") / _mean(runs, "seconds"),
                max((abs(j) for run in runs.values() for j in run.jumps), default=0.0),
            )
        )
    missing = tuple(c.label for c in late.courses if not mine[c.key])
    places.sort(key=lambda place: place.flops)
    return Frontier(late, data, late.steps, tuple(seeds), tuple(places), tuple(corners), missing)


def hull(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The names on the lower convex hull, from the left, as far as it falls.

    Example:
        >>> hull({"a": (0, 3.0), "b": (1, 2.9), "c": (2, 1.0), "d": (3, 1.5)})
        ['a', 'c']
    """
    found: list[str] = []
    for name in sorted(points, key=lambda n: points[n]):
        if found and points[name][1] >= points[found[-1]][1]:
            continue
        while len(found) > 1 and _turns_up(*(points[n] for n in (found[-2], found[-1], name))):
            found.pop()
        found.append(name)
    return found


def at(
    corners: Sequence[str],
    points: Mapping[str, tuple[float, float]],
    runs: Mapping[str, Mapping[int, Ended]],
    seed: int,
    flops: float,
) -> float:
    """The frontier's loss at so many FLOPs, for one seed; beyond its ends that of the last corner."""
    places = [points[name][0] for name in corners]
    # A network that has no run with this seed yet counts with the mean of those it has.
    scores = [runs[name][seed].score if seed in runs[name] else _mean(runs[name], "score") for name in corners]
    here = min(max(math.log(flops), places[0]), places[-1])
    for k in range(len(places) - 1):
        if here <= places[k + 1]:
            part = (here - places[k]) / (places[k + 1] - places[k])
            return scores[k] + part * (scores[k + 1] - scores[k])
    return scores[-1]


def _turns_up(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    """Whether b lies on or above the line from a to c."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def _mean(runs: Mapping[int, Ended], name: str) -> float:
    return sum(float(getattr(run, name)) for run in runs.values()) / len(runs)
