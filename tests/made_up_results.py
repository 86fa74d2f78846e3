"""Results of experiments that nobody ran, in the form of real ones."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from net2net.experiments import Header, Point, Results, Run

LABELS = {
    "net2net": "Net2Net, silent new units (the library's default)",
    "paper": "Net2WiderNet, copies with noise (the paper)",
    "random_pad": "Random pad",
    "scratch": "Random initialisation",
    "continued": "The teacher, trained on without growing",
}
# How an arm's final error falls with its budget: what it starts from, and how fast that shrinks.
SHAPES = {
    "net2net": (0.15, 0.30), "paper": (0.15, 0.22), "random_pad": (0.18, 0.32), "scratch": (0.9, 1.9),
    "continued": (0.15, 0.10), "teacher": (0.9, 1.8),
}  # fmt: skip
FLOOR = 0.10
STEPS = 2000


def results_of(
    scores: Mapping[str, Sequence[Sequence[float]]],
    *,
    budgets: Sequence[float] = (0.25, 0.5, 1.0),
    equal: float = 1.4,
    teacher: Sequence[float] = (0.8, 0.8),
    metric: str = "accuracy",
) -> Results:
    """An experiment of one group with these scores: arm -> for each seed that before training and those at its budgets.

    Scratch has one more budget, `equal`. A step of the teacher costs half of the student's; it takes 0.8 of the steps.
    """
    seeds = tuple(range(1, len(teacher) + 1))
    header = Header(
        "wider", "Wider", "made up", metric, {**{k: LABELS[k] for k in scores}, "teacher": "Teacher"},
        {"standard": tuple(scores)}, tuple(budgets), (0.1, 0.01), (0.5,), seeds, 100,
    )  # fmt: skip
    runs = [
        run("teacher", 0.8, "final", seed, 0.1, end) for seed, end in zip((1000, *seeds), (0.5, *teacher), strict=True)
    ]
    for arm in (*scores, "teacher"):
        runs += [run(arm, 0.5, "choice", 1000, 0.1, 0.8 - i / 10, rate) for i, rate in enumerate(header.rates)]
    for arm, own in scores.items():
        at = (budgets[-1],) if arm == "continued" else (*budgets, equal)
        for seed, (start, *ends) in zip(seeds, own, strict=True):
            runs += [run(arm, b, "final", seed, start, end) for b, end in zip(at, ends, strict=False)]
    return Results(header, tuple(runs))


def run(arm: str, budget: float, phase: str, seed: int, start: float, end: float, rate: float = 0.1) -> Run:
    """A run whose accuracy, 1 - loss, is a line of five points."""
    cheap = arm in ("teacher", "continued")
    steps = round(100 * budget * (2 if arm == "continued" else 1))
    line = [start + (end - start) * i / 4 for i in range(5)]
    points = tuple(
        Point(i * steps // 4, None if i == 0 else 1 - a, None if i == 0 else a, 1 - a, a) for i, a in enumerate(line)
    )
    error = 1e-8 if arm == "net2net" else None
    return Run(arm, budget, phase, rate, steps, seed, 1e6 if cheap else 2e6, 0.01, 1000, error, points)


def realistic(metric: str = "accuracy", groups: Sequence[str] = ("standard",), seeds: int = 3) -> Results:
    """All arms with curves as networks have them: noise, a dip after growth, scratch that is steep at first."""
    several = len(groups) > 1
    chance = random.Random(0)
    key = {(g, arm): f"{arm}_{g}" if several else arm for g in groups for arm in LABELS}
    names = {g: tuple(key[g, arm] for arm in LABELS) for g in groups}
    budgets = (0.125, 0.25, 0.5, 1.0) if metric == "accuracy" else (0.125, 0.25, 0.5)
    share, cost = (1.0, 0.45) if metric == "accuracy" else (0.5, 0.4)  # the teacher's steps, and what one costs
    header = Header(
        "wider", "Wider: Inception modules at 0.55 of their width, grown to the standard width",
        "made-up images", metric,
        {name: LABELS[arm] for (_, arm), name in key.items()} | {"teacher": "Teacher"}, names, budgets,
        (0.2, 0.0632, 0.02), (0.125, 0.5), tuple(range(1, seeds + 1)), STEPS,
        {"batch": 64, "teacher_decays": metric == "accuracy", "arms": {"paper": {"how": "split", "noise": "paper"}}},
    )  # fmt: skip
    own = {name: arm for (_, arm), name in key.items()} | {"teacher": "teacher"}
    runs = []
    for name, arm in own.items():
        small = arm in ("teacher", "continued")
        at = {
            "teacher": (share,),
            "continued": (budgets[-1],),
            "scratch": tuple(sorted({*budgets, 1.0, budgets[-1] + share * cost})),
        }.get(arm, budgets)
        for seed in (1000, *header.seeds) if arm == "teacher" else header.seeds:
            for budget in at:
                steps = round(budget * STEPS / (cost if arm == "continued" else 1))
                points = _curve(arm, budget, steps, metric, chance)
                flops = (cost if small else 1.0) * 1.7e8
                error = 3e-8 if arm == "net2net" else 1e-2 if arm == "paper" else None
                runs.append(Run(name, budget, "final", 0.0632, steps, seed, flops, flops / 1.1e10, 5000, error, points))
        for budget in header.choice_budgets if arm != "teacher" else (share,):
            for rate in header.rates:
                points = _curve(arm, budget, round(budget * STEPS), metric, chance)
                runs.append(Run(name, budget, "choice", rate, points[-1].step, 1000, 1e8, 0.01, 5000, None, points))
    return Results(header, tuple(runs))


def _curve(arm: str, budget: float, steps: int, metric: str, chance: random.Random) -> tuple[Point, ...]:
    start, speed = SHAPES[arm]
    level = chance.gauss(0, 0.002)
    points = []
    every = STEPS // 20
    for step in sorted({*range(0, steps, every), steps}):
        done = step / steps
        wrong = FLOOR + (start - FLOOR) * math.exp(-speed * 2.2 * math.sqrt(step / STEPS))
        if arm not in ("scratch", "teacher"):
            wrong += 0.03 * math.exp(-(((done - 0.15) / 0.12) ** 2)) * (arm != "paper")
        wrong += (level + chance.gauss(0, 0.006 * (1 - done))) * (step > 0)
        if arm == "random_pad" and step == 0:
            wrong = 0.8
        values = (wrong, 1 - wrong) if metric == "accuracy" else (1.2 + 2.4 * wrong, 1 - wrong)
        train = (None, None) if step == 0 else (values[0] - 0.004, values[1] + 0.004)
        points.append(Point(step, *train, *values))
    return tuple(points)
