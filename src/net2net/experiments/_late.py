"""Late growth, in depth and in width, against networks of one size: what is run, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from net2net.experiments._courses import Course, Ended, Stage
from net2net.experiments._language import LanguageShape


@dataclass(frozen=True)
class Late:
    """An experiment of courses that end at one size, or are of one size below it.

    Attributes:
        name, title: for the results.
        steps: of a course of length 1.
        rates: to choose from, for each course of one size.
        rate: the one of these that is run first, with all seeds.
        full: the key of the network of the full size.
        courses: all of them, those that say most first; courses of one size have no stages.
        batch, context: of the text, in windows and in bytes.
    """

    name: str
    title: str
    steps: int
    rates: tuple[float, ...]
    rate: float
    full: str
    courses: tuple[Course, ...]
    batch: int = 16
    context: int = 96

    def course(self, key: str) -> Course:
        """A course by its key."""
        return next(course for course in self.courses if course.key == key)


@dataclass(frozen=True)
class Scale:
    """How large a network of bytes is and how long it learns.

    Attributes:
        shape: the full size; courses have fewer blocks or channels.
        steps, rates, rate: as in `Late`.
        batch, context: as in `Late`.
    """

    shape: LanguageShape
    steps: int
    rates: tuple[float, ...]
    rate: float
    batch: int = 16
    context: int = 96


_RATES = (4e-3, 2e-3, 8e-3, 1.6e-2)
SCALES: Mapping[str, Scale] = {
    "smoke": Scale(LanguageShape(16, 4, 8), 24, _RATES[:2], 4e-3, 4, 16),
    "cpu": Scale(LanguageShape(96, 8, 24), 1200, (4e-3, 1e-3, 2e-3, 8e-3), 4e-3),
    "narrow": Scale(LanguageShape(32, 8, 16), 1200, (8e-3, 4e-3, 1.6e-2, 3.2e-2), 8e-3),
    "gpu": Scale(LanguageShape(768, 12, 64), 10_000, (6e-4, 3e-4, 1.2e-3, 2.4e-3), 6e-4, 64, 512),
}


def late_depth(scale: Scale) -> Late:
    """From one block (or two, or four) to all of them, late, under warm-up, stable rate and decay.

    Source: arXiv 2511.04981, with the frontier of networks of one depth that its comparison leaves out.
    """
    full = scale.shape.layers
    depths = sorted({1, 2, 3 if full > 4 else 2, full // 2, full})

    def fixed(layers: int, length: float = 1.0) -> Course:
        name = f"fixed-{layers}" if length == 1 else f"fixed-{layers}-x{length:g}"
        often = "" if length == 1 else f", {length:g} times the steps"
        shape = replace(scale.shape, layers=layers)
        return Course(name, f"{_blocks(layers)}{often}", shape, (), f"fixed-{layers}", length)

    def grown(first: int, after: float, init: str = "identity") -> Course:
        stage = _deeper(after, full - first, init)
        name = f"grown-{first}-at-{round(100 * after)}" + ("" if init == "identity" else f"-{init}")
        how = "" if init == "identity" else f", {init}"
        label = f"{first} -> {full} blocks at {round(100 * after)} %{how}"
        return Course(name, label, replace(scale.shape, layers=first), (stage,), f"fixed-{full}")

    def doubled(first: int, *after: float) -> Course:
        stages = tuple(_deeper(part, first * 2**k, "identity") for k, part in enumerate(after))
        sizes = " -> ".join(str(first * 2**k) for k in range(len(after) + 1))
        times = ", ".join(f"{round(100 * part)}" for part in after)
        name = f"doubled-{first}-at-" + "-".join(f"{round(100 * part)}" for part in after)
        return Course(name, f"{sizes} blocks at {times} %", replace(scale.shape, layers=first), stages, f"fixed-{full}")

    half = full // 2
    courses = (
        grown(1, 0.8),
        *(fixed(layers) for layers in depths),
        grown(1, 0.6),
        grown(half, 0.5),
        grown(2, 0.5),
        doubled(half // 2, 0.3, 0.6),
        grown(half, 0.3),
        fixed(full, 0.5),
        fixed(half, 2.0),
        grown(1, 0.9),
        grown(1, 0.6, "stack"),
        grown(1, 0.6, "random"),
        grown(1, 0.8, "stack"),
    )
    title = f"Late depth: a Llama of bytes, from fewer blocks to {full}"
    return late("late-depth", title, scale, f"fixed-{full}", courses)


def late(name: str, title: str, scale: Scale, full: str, courses: Sequence[Course]) -> Late:
    """An experiment of a scale; of courses with one key the first."""
    different = tuple({course.key: course for course in reversed(courses)}.values())[::-1]
    return Late(name, title, scale.steps, scale.rates, scale.rate, full, different, scale.batch, scale.context)


def jobs(late: Late, seeds: Sequence[int], done: Sequence[Ended]) -> Iterator[tuple[str, float, int]]:
    """All runs of an experiment, those that say most first: keys of courses, learning
    rates and seeds.

    First the first courses at the first rate with all seeds, then the other rates of networks of one size with the
    first seed, then what is left. A rate that turns out better than the first one is then run with all seeds.
    """
    core = [*(c for c in late.courses if c.tuned), late.courses[0]]
    for seed in seeds:
        for course in core:
            yield course.key, late.rate, seed
    for rate in late.rates:
        for course in core:
            if course.tuned:
                yield course.key, rate, seeds[0]
    for seed in seeds:
        for course in late.courses:
            yield course.key, chosen(late, course, done), seed


def chosen(late: Late, course: Course, done: Sequence[Ended]) -> float:
    """A course's learning rate: that with the best loss on the first held-out part, for the first seed."""
    mine = [run for run in done if run.course == course.rate_of]
    first = min((run.seed for run in mine), default=0)
    return min((run for run in mine if run.seed == first), key=lambda run: run.choice).rate if mine else late.rate


def _deeper(after: float, more: int, init: str) -> Stage:
    growth: dict[str, Any] = {"where": {"blocks": more}}
    return Stage(after, growth if init == "identity" else {**growth, "init": init})


def _blocks(layers: int) -> str:
    return f"{layers} block{'s' if layers > 1 else ''}"
