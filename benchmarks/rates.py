"""Which learning rate after a growth? The peak of the student's schedule, relative to the teacher's.

The teachers of the experiments `wider`, `deeper` and `language` are trained at the rate that was chosen for them there,
grown by the library's default, and trained on with each factor of that rate, for an eighth, a half and all of the
steps (language: an eighth and a half). On images the teacher's schedule has ended at zero and a new one begins; on
language the teacher is in the middle of its run, at a constant rate. All are measured on the held-out examples that the
experiments choose rates on, with seeds that these don't report. As a control, the teacher of `language` also goes on
without growing ("alone"). The output file gets the runs of a teacher when they are done; an interrupted run goes on
from there. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from net2net.experiments import RECIPES, SIZES
from net2net.experiments._reproduce import task_of
from net2net.experiments._starts import fresh, start
from net2net.experiments._statistics import interval
from net2net.experiments._training import train

FACTORS = (1.0, 0.5, 0.3, 0.1)
# The teachers' rates, as docs/results has them.
PEAKS = {"wider": 0.0632, "deeper": 0.2, "language": 0.008}
BUDGETS = {"wider": (0.125, 0.5, 1.0), "deeper": (0.125, 0.5, 1.0), "language": (0.125, 0.5)}
CONTROL = {"language": ("alone",)}
FIRST_SEED, STUDENT_ORDER = 1001, 10_000
Job = tuple[str, str, int]  # an experiment, a group of it, a seed


def scores(job: Job, source: Path, steps: int | None) -> list[dict[str, Any]]:
    """The score at the end of every run of a teacher's students; higher is better."""
    name, group_name, seed = job
    torch.set_num_threads(1)
    experiment = RECIPES[name](SIZES["cpu"])
    whole = steps or experiment.steps
    task = task_of(name, SIZES["cpu"], source)
    group = next((g for g in experiment.groups if g.name == group_name), None)
    teacher = fresh(task, experiment.teacher, seed)
    optimizer = task.optimizer(teacher, 0.0)
    common: dict[str, Any] = {"every": whole, "part": "choice"}
    length = round(whole * experiment.teacher_budget)
    decays = experiment.teacher_decays
    train(teacher, optimizer, task, steps=length, rate=PEAKS[name], seed=seed, decays=decays, **common)
    student, grown, error = teacher, optimizer, 0.0
    if group is not None:
        student, grown, error = start(group.arms[0], group, task, teacher.eval(), optimizer, seed)
    found = []
    for budget in BUDGETS[name]:
        for factor in FACTORS:
            model, own = copy.deepcopy((student, grown))
            rate, order = factor * PEAKS[name], STUDENT_ORDER + seed
            points, _ = train(model, own, task, steps=round(whole * budget), rate=rate, seed=order, **common)
            score = 100 * points[-1].accuracy if task.metric == "accuracy" else -points[-1].loss
            run = {"experiment": name, "group": group_name, "seed": seed, "steps": whole}
            found.append({**run, "budget": budget, "factor": factor, "score": score, "error": error})
    return found


def show(rows: list[dict[str, Any]]) -> None:
    """What each factor is ahead of keeping the rate, seed by seed: means and intervals."""
    table = Table("experiment", "budget", "seeds", *(f"{factor:g} x" for factor in FACTORS), "unit")
    by_case: dict[Any, dict[int, dict[float, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        by_case[row["experiment"], row["group"], row["budget"]][row["seed"]][row["factor"]] = row["score"]
    for (name, group, budget), seeds in by_case.items():
        kept = [values[1.0] for values in seeds.values()]
        cells = [f"{sum(kept) / len(kept):.2f}"]
        for factor in FACTORS[1:]:
            lead = interval([values[factor] - values[1.0] for values in seeds.values()])
            cells.append(f"{lead.mean:+.3f} ± {lead.half:.3f}")
        unit = "nats" if name == "language" else "points"
        table.add_row(f"{name}, {group}", f"{budget:g}", str(len(seeds)), *cells, unit)
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="as --data of net2net reproduce wider")
    parser.add_argument("--text", type=Path, required=True, help="as --data of net2net reproduce language")
    parser.add_argument("--output", type=Path, default=Path("rates.jsonl"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=None, help="instead of the experiments' own")
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if arguments.output.exists():
        rows = [json.loads(line) for line in arguments.output.read_text().splitlines()]
    if {row["steps"] for row in rows} - {arguments.steps or RECIPES["wider"](SIZES["cpu"]).steps}:
        parser.error(f"{arguments.output} has runs of other lengths; name another file.")
    done = {(row["experiment"], row["group"], row["seed"]) for row in rows}
    jobs: list[Job] = [
        (name, group, seed)
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds)
        for name in PEAKS
        for group in (*(g.name for g in RECIPES[name](SIZES["cpu"]).groups), *CONTROL.get(name, ()))
    ]
    with ProcessPoolExecutor(arguments.workers) as pool:
        source = {"language": arguments.text}
        running = [
            pool.submit(scores, job, source.get(job[0], arguments.images), arguments.steps)
            for job in jobs
            if job not in done
        ]
        for future in as_completed(running):
            rows += future.result()
            with open(arguments.output, "a") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in future.result())
    rows.sort(key=lambda row: (list(PEAKS).index(row["experiment"]), row["group"], row["budget"]))
    show(rows)


if __name__ == "__main__":
    main()
