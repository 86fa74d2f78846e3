"""The experiment: a teacher, its wider student, and what training makes of three ways to start."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import torch
from torch import nn

from net2net.demo._data import Digits, Split, load
from net2net.demo._network import DigitsNet
from net2net.demo._training import Curve, Tick, accuracy, one_thread, train
from net2net.dimensions import Analysis, analyze
from net2net.growth import Growth
from net2net.widening import widen

WIDTH, FACTOR = 8, 2
TEACHER_RATE = 0.1
RATES = (0.1, 0.03, 0.01)
# The seed that learning rates are chosen on, beside those that are reported.
CHOICE_SEED = 1000


@dataclass(frozen=True)
class Settings:
    """How long and how often: the teacher trains for twice the students' steps."""

    seeds: int = 3
    steps: int = 250
    seed: int = 0
    every: int = 10

    @property
    def teacher_steps(self) -> int:
        return 2 * self.steps

    @property
    def arm_steps(self) -> int:
        """Training steps of all arms together, learning-rate choice included."""
        return len(ARMS) * (len(RATES) + self.seeds) * self.steps


@dataclass(frozen=True)
class Prepared:
    """A trained teacher and its student, before the student trains."""

    data: Digits
    teacher: DigitsNet
    teacher_accuracy: float
    analysis: Analysis
    growth: Growth
    student_accuracy: float


@dataclass(frozen=True)
class Arm:
    """One way to start the bigger network, and its learning curves, one per seed.

    `relative_error` is the distance from the teacher's outputs at step 0; None where there is no teacher.
    """

    key: str
    label: str
    relative_error: float | None
    rate: float
    curves: tuple[Curve, ...]

    def at(self, point: int) -> list[float]:
        """Per seed, the accuracy at a measured point; 0 is the start, -1 the end."""
        return [curve.accuracy[point] for curve in self.curves]

    @property
    def means(self) -> list[float]:
        """The mean learning curve."""
        return [statistics.fmean(values) for values in zip(*(c.accuracy for c in self.curves), strict=True)]

    def steps_to(self, levels: list[float]) -> list[int | None]:
        """Per seed, the first measured step at the seed's level; None if it is never reached."""
        return [curve.reaches(level) for curve, level in zip(self.curves, levels, strict=True)]


# How the arms begin: key -> label.
ARMS = {
    "net2net": "Net2Net student",
    "random_pad": "Random padding (not preserving)",
    "scratch": "Same network from scratch",
}


def spread(values: list[float]) -> float:
    """The standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def parameters(model: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())


@one_thread()
def prepare(settings: Settings, tick: Tick) -> Prepared:
    """Train the teacher and make it wider."""
    data = load()
    teacher = _fresh(WIDTH, settings.seed)
    train(
        teacher,
        data.training,
        data.validation,
        steps=settings.teacher_steps,
        rate=TEACHER_RATE,
        seed=settings.seed,
        every=settings.teacher_steps,
        tick=tick,
    )
    teacher.eval()
    examples = data.training.images[:32]
    growth = widen(teacher, float(FACTOR), examples, seed=settings.seed)
    return Prepared(
        data,
        teacher,
        accuracy(teacher, data.test),
        analyze(teacher, examples),
        growth,
        accuracy(growth.student, data.test),
    )


@one_thread()
def compare(prepared: Prepared, settings: Settings, tick: Tick) -> list[Arm]:
    """Train every arm on the same batches in the same order, at the learning rate that suits it best.

    The rate has the highest mean validation accuracy over a run with a seed that is not reported.
    """
    data = prepared.data

    def run(key: str, rate: float, seed: int, measured: Split) -> Curve:
        return train(
            _start(key, prepared, seed),
            data.training,
            measured,
            steps=settings.steps,
            rate=rate,
            seed=seed,
            every=settings.every if measured is data.test else 2 * settings.every,
            tick=tick,
        )

    arms = []
    for key, label in ARMS.items():
        tried = {rate: run(key, rate, CHOICE_SEED + settings.seed, data.validation).mean for rate in RATES}
        rate = max(tried, key=tried.__getitem__)
        seeds = range(settings.seed + 1, settings.seed + 1 + settings.seeds)
        curves = tuple(run(key, rate, seed, data.test) for seed in seeds)
        error = None if key == "scratch" else _grown(key, prepared, seeds[0]).verification.max_relative_error
        arms.append(Arm(key, label, error, rate, curves))
    return arms


def _start(key: str, prepared: Prepared, seed: int) -> nn.Module:
    """An arm's network before it trains."""
    return _fresh(FACTOR * WIDTH, seed) if key == "scratch" else _grown(key, prepared, seed).student


def _grown(key: str, prepared: Prepared, seed: int) -> Growth:
    how = "random_pad" if key == "random_pad" else None
    return widen(prepared.teacher, float(FACTOR), prepared.data.training.images[:32], how=how, seed=seed)


def _fresh(width: int, seed: int) -> DigitsNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitsNet(width)
