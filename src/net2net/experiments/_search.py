"""`net2net reproduce search`: is a search that inherits better than one that doesn't, or than one growth by hand?"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from net2net._version import __version__
from net2net.errors import OptionError
from net2net.experiments._images import load_images
from net2net.experiments._recipes import SIZES
from net2net.experiments._search_arms import Bench, Outcome, arms, as_line
from net2net.experiments._tasks import ImageTask, Task, TextTask
from net2net.experiments._text import load_text
from net2net.report import STYLE, html_table, table

LABELS = {
    "inheritance": "Search, weights inherited (net2net.explore)",
    "random": "The same search, random initialisation",
    "by_hand": "The best of two growths chosen by hand",
    "teacher": "The teacher, trained on",
}
# Of each budget: steps of a trial, trials, steps of the teacher.
_LENGTHS = {"smoke": (2, 3, 4), "cpu": (300, 30, 1000), "gpu": (2000, 60, 10_000)}
_RATES = {"accuracy": 0.0632, "loss": 8e-3}


@dataclass(frozen=True)
class SearchResults:
    """All outcomes of the experiment; `metric` is "accuracy" or "loss"."""

    data: str
    metric: str
    outcomes: tuple[Outcome, ...]

    def rows(self) -> tuple[list[str], list[list[str]]]:
        """A line for each arm: the mean over the seeds and half of its range, the lead of inheritance seed by seed."""
        first = {o.seed: o.score for o in self.outcomes if o.arm == "inheritance"}
        rows = []
        for arm, label in LABELS.items():
            mine = [o for o in self.outcomes if o.arm == arm]
            if not mine:
                continue
            sign = 1 if self.metric == "loss" else -1
            leads = [sign * (o.score - first[o.seed]) for o in mine if o.seed in first]
            lead = "-" if arm == "inheritance" else f"{_mean(leads):+.4f} ({sum(x > 0 for x in leads)} of {len(leads)})"
            row = [label, _spread([o.score for o in mine]), lead, f"{_mean([o.compute for o in mine]):.3g}"]
            rows.append([*row, f"{_mean([float(o.networks) for o in mine]):.0f}", str(len(mine))])
        headers = ["arm", f"validation {self.metric}", "inheritance ahead by (seeds)", "FLOPs", "networks", "seeds"]
        return headers, rows

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"data": self.data, "metric": self.metric, "outcomes": [asdict(o) for o in self.outcomes]}

    def text(self) -> str:
        """For a terminal."""
        headers, rows = self.rows()
        return f"{self.data}\n\n{table(headers, rows, right=(1, 2, 3, 4, 5))}"


def reproduce_search(
    output: Path | str,
    data: Path | str | None = None,
    *,
    seeds: tuple[int, ...] = (1, 2, 3),
    budget: str = "cpu",
    steps: int | None = None,
    trials: int | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> SearchResults:
    """Compare a search with inheritance with its alternatives, at equal numbers of operations. Resumable.

    Args:
        output: the folder for "results.jsonl", the networks and a page for each search.
        data: a folder of images, or a text file or a folder of them; None for scikit-learn's digits.
        seeds: teachers, each with all arms.
        budget: "smoke", "cpu" or "gpu".
        steps, trials: of each trial, and how many, instead of the budget's; the teacher's steps follow the first.
        progress: is called with the arms that are done and those that there are in all.

    Raises:
        OptionError: a name is unknown, or the folder holds results of other settings.
        MissingExtraError: Optuna isn't installed.

    Example:
        >>> results = reproduce_search("reproduced/search", "data/fashion-mnist", seeds=(1,))  # doctest: +SKIP
    """
    if budget not in _LENGTHS:
        raise OptionError(f"there is no budget {budget!r}; use one of {', '.join(_LENGTHS)}.")
    usual, most, before = _LENGTHS[budget]
    length, count = steps or usual, trials or most
    teacher_steps = max(1, round(before * length / usual))
    task, folder = _task(data, budget), Path(output)
    settings = {"data": task.name, "steps": length, "trials": count, "teacher_steps": teacher_steps}
    file = folder / "results.jsonl"
    found = _started(file, {**settings, "rate": _RATES[task.metric], **task.settings})

    def write(outcome: Outcome) -> None:
        with open(file, "a") as stream:
            stream.write(as_line(outcome) + "\n")
        found.append(outcome)
        if progress is not None:
            progress(len(found), len(seeds) * len(LABELS))

    for number in seeds:
        own = folder / f"seed-{number}"
        bench = Bench(task, length, _RATES[task.metric], count, teacher_steps, own, number)
        arms(bench, {o.arm: o for o in found if o.seed == number}, write)
    results = SearchResults(task.name, task.metric, tuple(found))
    (folder / "report.html").write_text(_page(results))
    return results


def _task(data: Path | str | None, budget: str) -> Task:
    size = SIZES[budget]
    path = None if data is None else Path(data)
    if path is not None and (path.suffix == ".txt" or any(path.glob("*.txt"))):
        return TextTask(load_text(path), size.text_batch, size.text_length, windows=128)
    return ImageTask(load_images(path), size.image_batch)


def _started(file: Path, settings: dict[str, object]) -> list[Outcome]:
    """The outcomes that are there; a last line that was cut off doesn't count."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"settings": settings, "version": __version__}) + "\n")
        return []
    lines = file.read_text().splitlines()
    if json.loads(lines[0])["settings"] != json.loads(json.dumps(settings)):
        raise OptionError(f"{file} holds results of other settings; give the same ones, or another output folder.")
    whole = [line for line in lines[1:] if line.endswith("}}")]
    file.write_text("".join(f"{line}\n" for line in [lines[0], *whole]))
    return [Outcome(**json.loads(line)["outcome"]) for line in whole]


def _mean(values: list[float]) -> float:
    return statistics.fmean(values) if values else float("nan")


def _spread(values: list[float]) -> str:
    return f"{_mean(values):.4f} ± {(max(values) - min(values)) / 2:.4f}"


def _page(results: SearchResults) -> str:
    headers, rows = results.rows()
    each = [
        [LABELS[o.arm], str(o.seed), f"{o.score:.4f}", f"{o.parameters:,}", escape(o.best)] for o in results.outcomes
    ]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>net2net reproduce search</title><style>{STYLE}</style></head>
<body><main><header><p class="brand">net2net {escape(__version__)}</p><h1>Does a search that inherits pay?</h1>
<p class="lead">{escape(results.data)}: all arms have the operations of the search with inheritance; random
initialisation those of the teacher on top.</p></header>
<section>{html_table(headers, rows, (1, 2, 3, 4, 5))}</section>
<section><h2>Each seed's best</h2>
{html_table(["arm", "seed", "score", "parameters", "grown"], each, (1, 2, 3))}</section>
</main></body></html>
"""
