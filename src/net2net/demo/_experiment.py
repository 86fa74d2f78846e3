"""The two experiments: a wider and a deeper student of one teacher, and what training makes of ways to start."""

from __future__ import annotations

import copy
import functools
import statistics
from dataclasses import dataclass

import torch
from torch import nn

from net2net.analysis import Analysis, analyze
from net2net.apply import alone
from net2net.demo._data import Digits, Split, batches, load
from net2net.demo._network import DigitsNet
from net2net.demo._training import BATCH, Curve, Tick, accuracy, train
from net2net.growth import Growth
from net2net.operators import deepen, widen

WIDTH, FACTOR = 8, 2
# One more residual block, and one more pair of convolutions in the Inception block.
PLACES = {"residual": 1, "inception.wide.conv": 1}
KERNELS: list[tuple[int, ...]] = [(1, 3), (3, 1)]
CALIBRATION_BATCHES = 16
TEACHER_RATE = 0.1
RATES = (0.1, 0.03, 0.01)
# The seed that learning rates are chosen on, beside those that are reported.
CHOICE_SEED = 1000


@dataclass(frozen=True)
class Experiment:
    """One bigger network, and the ways to start it: key -> label. The first is the growth."""

    title: str
    arms: dict[str, str]


EXPERIMENTS = {
    "wider": Experiment(
        "Wider: every dimension twice as large",
        {
            "net2net": "Net2WiderNet",
            "random_pad": "Random pad (not preserving)",
            "scratch": "Random initialisation",
        },
    ),
    "deeper": Experiment(
        "Deeper: one more residual block, one more pair of convolutions",
        {"net2net": "Net2DeeperNet", "scratch": "Random initialisation"},
    ),
}


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
        return sum(len(e.arms) for e in EXPERIMENTS.values()) * (len(RATES) + self.seeds) * self.steps


@dataclass(frozen=True)
class Student:
    """A bigger network before it trains."""

    growth: Growth
    accuracy: float


@dataclass(frozen=True)
class Prepared:
    """A trained teacher and its students, by the key of their experiment."""

    data: Digits
    teacher: DigitsNet
    teacher_accuracy: float
    analysis: Analysis
    students: dict[str, Student]


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


Arms = dict[str, list[Arm]]  # by the key of the experiment


def spread(values: list[float]) -> float:
    """The standard deviation over seeds; 0 for a single one."""
    return statistics.stdev(values) if len(values) > 1 else 0.0


def parameters(model: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in model.parameters())


@alone()  # networks this small lose more time to torch's threads than they gain
def prepare(settings: Settings, tick: Tick) -> Prepared:
    """Train the teacher and make it wider and deeper."""
    data = load()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        teacher = DigitsNet(WIDTH)
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
    students = {}
    for key in EXPERIMENTS:
        growth = _grown(teacher, data, key, "net2net", settings.seed)
        students[key] = Student(growth, accuracy(growth.student, data.test))
    analysis = analyze(teacher, data.training.images[:32])
    return Prepared(data, teacher, accuracy(teacher, data.test), analysis, students)


@alone()  # networks this small lose more time to torch's threads than they gain
def compare(prepared: Prepared, settings: Settings, tick: Tick) -> Arms:
    """Train every arm on the same batches in the same order, at the learning rate that suits it best.

    The rate has the highest mean validation accuracy over a run with a seed that is not reported.
    """
    data = prepared.data
    grown = functools.cache(functools.partial(_grown, prepared.teacher, data))

    def run(experiment: str, arm: str, rate: float, seed: int, measured: Split) -> Curve:
        bigger = prepared.students[experiment].growth.student
        start = _fresh(bigger, seed) if arm == "scratch" else copy.deepcopy(grown(experiment, arm, seed).student)
        return train(
            start,
            data.training,
            measured,
            steps=settings.steps,
            rate=rate,
            seed=seed,
            every=settings.every if measured is data.test else 2 * settings.every,
            tick=tick,
        )

    seeds = range(settings.seed + 1, settings.seed + 1 + settings.seeds)
    results: Arms = {}
    for key, experiment in EXPERIMENTS.items():
        results[key] = []
        for arm, label in experiment.arms.items():
            tried = {r: run(key, arm, r, CHOICE_SEED + settings.seed, data.validation).mean for r in RATES}
            rate = max(tried, key=tried.__getitem__)
            curves = tuple(run(key, arm, rate, seed, data.test) for seed in seeds)
            error = None if arm == "scratch" else grown(key, arm, seeds[0]).verification.max_relative_error
            results[key].append(Arm(arm, label, error, rate, curves))
    return results


def _grown(teacher: nn.Module, data: Digits, experiment: str, arm: str, seed: int) -> Growth:
    """An arm's network, made from the teacher."""
    examples = data.training.images[:32]
    if experiment == "wider":
        return widen(teacher, float(FACTOR), examples, how="random_pad" if arm == "random_pad" else None, seed=seed)
    calibration = [batch.images for batch in batches(data.training, BATCH, CALIBRATION_BATCHES, seed)]
    return deepen(teacher, PLACES, examples, calibration, kernel=KERNELS, seed=seed)


def _fresh(model: nn.Module, seed: int) -> nn.Module:
    """The same network at the start of its life: every layer draws its weights anew."""
    model = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, (nn.Conv2d, nn.BatchNorm2d, nn.Linear)):
                module.reset_parameters()
    return model
