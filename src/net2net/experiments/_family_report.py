"""What a family's arms showed: cost of the family and of its largest model, scores with intervals, a figure, a page."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from net2net.chain import Ledger
from net2net.errors import MissingExtraError
from net2net.experiments._family import ARMS, FamilyArm
from net2net.experiments._family_run import FamilyResults
from net2net.experiments._looks import dress, legend, new_figure
from net2net.experiments._statistics import Interval, interval
from net2net.report import STYLE, html_table, svg, table

_HEADERS = (
    "arm",
    "rate",
    "family's FLOPs",
    "largest's FLOPs",
    "largest's loss",
    "minus alone, full budget",
    "began at",
)
_COLOURS = (
    "#1f2933",
    "#7a828c",
    "#0072b2",
    "#56b4e9",
    "#d55e00",
    "#e69f00",
    "#009e73",
    "#44aa99",
    "#882255",
    "#cc79a7",
)


@dataclass(frozen=True)
class Row:
    """One arm over the seeds.

    Attributes:
        arm: which.
        family: FLOPs of all models, relative to each alone with the full budget; None where only the largest counts.
        largest: FLOPs until the largest is finished, all models that it needs included, relative to it alone.
        loss: of the largest.
        behind: the same minus that of the largest alone with the full budget, seed by seed.
        error: of the largest at its start, relative to its teacher; None from scratch.
    """

    arm: FamilyArm
    family: float | None
    largest: float
    loss: Interval
    behind: Interval
    error: float | None


@dataclass(frozen=True)
class FamilySummary:
    """What the arms showed."""

    results: FamilyResults
    rows: tuple[Row, ...]

    def text(self) -> str:
        """For a terminal."""
        return "\n".join([table(_HEADERS, self._cells(), right=range(1, 7)), "", *self.findings()])

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        rows = [
            {"arm": r.arm.key, "family": r.family, "largest": r.largest, "loss": [r.loss.mean, r.loss.half],
             "behind": [r.behind.mean, r.behind.half], "error": r.error}
            for r in self.rows
        ]  # fmt: skip
        found = {"rows": rows, "findings": self.findings(), "rate": self.results.first}
        return json.loads(json.dumps(found).replace("NaN", "null"))  # type: ignore[no-any-return]  # JSON is read again

    def _cells(self) -> list[list[str]]:
        return [
            [row.arm.label, f"{self.results.chosen[row.arm.key]:g}", "" if row.family is None else f"{row.family:.0%}",
             f"{row.largest:.0%}", str(row.loss), str(row.behind), "" if row.error is None else f"{row.error:.1e}"]
            for row in self.rows
        ]  # fmt: skip

    def findings(self) -> list[str]:
        """The goals, met or missed, in a sentence each."""
        lines = []
        for row in self.rows:
            if row.arm.key in ("exact", "exact_distilled", "overlay", "overlay_distilled") and row.family is not None:
                cheap = "at most" if row.family <= 1 / 3 else "NOT at most"
                worse = {1: "worse than", 0: "not told apart from", -1: "better than"}[row.behind.sign]
                lines.append(
                    f"{row.arm.label}: the family costs {row.family:.0%}, {cheap} a third, and its largest model is "
                    f"{worse} the largest alone at full budget ({row.behind} nats)."
                )
        return lines


def summarise_family(results: FamilyResults) -> FamilySummary:
    """Means over the seeds."""
    seeds = results.settings["seeds"]

    def each(arm: FamilyArm, of: Callable[[Ledger], float]) -> list[float]:
        return [of(results.ledgers[arm.key, seed]) for seed in seeds]

    def score(ledger: Ledger) -> float:
        return ledger.entries[-1].score

    alone = each(ARMS[0], score)
    family_alone = statistics.fmean(each(ARMS[0], lambda ledger: ledger.flops))
    largest_alone = statistics.fmean(each(ARMS[0], lambda ledger: ledger.entries[-1].total))
    rows = []
    for arm in ARMS:
        by_itself = arm.init == "scratch" and not arm.distils  # it needs no other model
        cost = each(arm, lambda ledger, own=by_itself: ledger.entries[-1].total if own else ledger.flops)  # type: ignore[misc]  # a default binds it
        scores, whole = each(arm, score), statistics.fmean(each(arm, lambda ledger: ledger.flops))
        rows.append(
            Row(
                arm,
                whole / family_alone if arm.models == "all" else None,
                statistics.fmean(cost) / largest_alone,
                interval(scores),
                interval([a - b for a, b in zip(scores, alone, strict=True)]),
                results.ledgers[arm.key, seeds[0]].entries[-1].error,
            )
        )
    return FamilySummary(results, tuple(rows))


def write_family(results: FamilyResults, folder: Path) -> FamilySummary:
    """Write report.html, family.svg and summary.json.

    Raises:
        MissingExtraError: matplotlib or scipy isn't installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    summary = summarise_family(results)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "net2net family"}):
        picture = svg(_figure(results), "Loss of every model against the FLOPs that it took, all before it included")
    (folder / "family.svg").write_text(picture)
    (folder / "summary.json").write_text(json.dumps(summary.as_json(), indent=2) + "\n")
    (folder / "report.html").write_text(_page(summary, picture))
    return summary


def _figure(results: FamilyResults) -> Any:
    """Every model of every arm: its loss, against all FLOPs until it was finished."""
    figure = new_figure(9.0, 6.2)
    panel = figure.subplots()
    dress(panel, "loss")
    seeds: Sequence[int] = results.settings["seeds"]
    for arm, colour in zip(ARMS, _COLOURS, strict=True):
        ledgers = [results.ledgers[arm.key, seed] for seed in seeds]
        costs = [_costs(arm, ledger) for ledger in ledgers]
        x = [statistics.fmean(c) for c in zip(*costs, strict=True)]
        y = [
            statistics.fmean(e.score for e in models) for models in zip(*(led.entries for led in ledgers), strict=True)
        ]
        start = 1 if arm.models == "ends" else 0
        panel.plot(x[start:], y[start:], "o-" if arm.models == "all" else "D", color=colour, label=arm.label)
    panel.set_xscale("log")
    panel.set_xlabel("FLOPs until the model was finished, all that it needs included")
    panel.set_ylabel(f"validation loss, {_words(results).unit}")
    legend(figure, [panel])
    return figure


@dataclass(frozen=True)
class _Words:
    """How a page speaks of a family."""

    command: str
    models: str
    batch: str
    unit: str
    score: str = ""


def _words(results: FamilyResults) -> _Words:
    settings = results.settings
    if "captions" not in settings:
        batch = f"{settings['batch']} windows of {settings['length']} bytes"
        return _Words("chain", "Llama-style language models", batch, "nats per byte")
    score = (
        " The loss is that of telling an image's class, in nats, by its similarity to the captions of all classes, "
        f"averaged over {settings['captions']} sentences; the training is contrastive, over the pairs of a batch."
    )
    models = "Two-tower models (one for images, one for captions)"
    return _Words("chain-towers", models, f"{settings['batch']} images with a caption each", "nats per image", score)


def _costs(arm: FamilyArm, ledger: Ledger) -> Sequence[int]:
    alone = arm.init == "scratch" and not arm.distils
    return [entry.total for entry in ledger.entries] if alone else ledger.cumulative


def _page(summary: FamilySummary, picture: str) -> str:
    settings, words = summary.results.settings, _words(summary.results)
    rows = [[escape(cell) for cell in row] for row in summary._cells()]
    shapes = ", ".join(f"{shape['width']} channels and {shape['layers']} blocks" for shape in settings["models"])
    parts = ", ".join(f"{part:.0%}" for part in settings["parts"])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>net2net: a family as a chain</title>
<style>{STYLE} td:first-child {{ white-space: normal; }}</style>
</head>
<body>
<main>
<p class="brand">net2net reproduce {words.command}</p>
<h1>A family trained smallest first, against each model alone</h1>
<p class="lead">{words.models} of {escape(shapes)}, on {escape(settings["data"])}, {len(settings["seeds"])}
seeds.</p>
<section>
<h2>What came out</h2>
<figure>{picture}<figcaption>Points are means over the seeds; every run's learning rate fell to zero at its end.
</figcaption></figure>
{html_table(_HEADERS, rows, range(1, 7))}
<ul>{"".join(f"<li>{escape(line)}</li>" for line in summary.findings())}</ul>
</section>
<section>
<h2>How</h2>
<p>The full budget is {settings["steps"]} steps of {words.batch}; the models
of a chain get {parts} of it. FLOPs are relative to training each model (or the largest) alone with the full budget; the
teachers' forward passes are counted, and the largest model's cost has that of all models that it needs. The smallest
model is the same in all arms of a seed; it and every arm chose a learning rate among
{escape(str(settings["rates"]))} by a seed that is not reported, on other held-out data.{words.score}
Distillation: {escape(str(settings["distillation"]))}.</p>
</section>
</main>
</body>
</html>
"""
