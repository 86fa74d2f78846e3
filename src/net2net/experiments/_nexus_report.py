"""What the experiment on growing projections says: a table, a figure, the growth law, and what growing saves."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._courses import Course, Ended
from net2net.experiments._looks import dress, new_figure
from net2net.experiments._nexus import DEAD, EQUAL, FULL, GROWN, STAY, TOKENS, stage_key
from net2net.experiments._nexus_law import GrowthLaw, fit_law
from net2net.experiments._nexus_run import NexusResults
from net2net.experiments._statistics import Interval, interval, paired
from net2net.experiments._words import NONE, score
from net2net.report import svg, table

HEADERS = (
    "arm", "rate", "seeds", "parameters", "FLOPs", "seconds", "final loss", "less scratch, all steps",
    "less scratch, equal FLOPs", "largest change at a growth",
)  # fmt: skip
_COLOURS = {GROWN: "#0072b2", STAY: "#7a828c", DEAD: "#d55e00", FULL: "#1f2933", EQUAL: "#009e73", TOKENS: "#cc79a7"}
_STAGE = "#56b4e9"


@dataclass(frozen=True)
class NexusRow:
    """One arm over the seeds.

    Attributes:
        course, rate, seeds: which, its learning rate, how many seeds.
        parameters: at the end.
        flops: of the whole run, relative to the final size from scratch with all steps.
        seconds: processor time of one core (on a GPU that of the wall), growths included.
        loss: at the end.
        behind: its loss less that of some other arm, seed by seed.
        jump: the largest change of the loss at a growth; None where nothing grew.
    """

    course: Course
    rate: float
    seeds: int
    parameters: int
    flops: float
    seconds: float
    loss: Interval
    behind: Mapping[str, Interval]
    jump: float | None


@dataclass(frozen=True)
class NexusReport:
    """The experiment's findings, for readers."""

    results: NexusResults
    rows: tuple[NexusRow, ...]
    law: GrowthLaw | None

    def row(self, key: str) -> NexusRow | None:
        """The row of an arm, if it has runs."""
        return next((row for row in self.rows if row.course.key == key), None)

    def text(self) -> str:
        """The table and the sentences, for a terminal."""
        lines = [table(HEADERS, [cells(row) for row in self.rows], right=range(1, len(HEADERS))), ""]
        return "\n".join([*lines, *(f"- {line}" for line in sentences(self))])

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        rows = [
            {
                **{name: value for name, value in vars(row).items() if name != "course"},
                "arm": row.course.key,
                "label": row.course.label,
            }
            for row in self.rows
        ]
        found = {
            "experiment": "nexus", "data": self.results.data, "steps": self.results.size.steps,
            "seeds": list(self.results.seeds), "findings": list(sentences(self)), "rows": rows,
            "law": None if self.law is None else vars(self.law),
        }  # fmt: skip
        text = json.dumps(found, default=lambda value: [value.mean, value.half])
        return json.loads(text.replace("NaN", "null").replace("Infinity", "null"))  # type: ignore[no-any-return]  # JSON is read again


def summarise_nexus(results: NexusResults) -> NexusReport:
    """What the finished runs say; also in the middle of an experiment. Arms are compared over the seeds of both."""
    runs = {course.key: results.of(course) for course in results.courses}
    unit = _mean(runs[FULL], "flops") or 1.0
    rows = []
    for course in results.courses:
        mine, rate = runs[course.key], results.rate(course)
        if not mine or rate is None:
            continue
        behind = {}
        for other in (FULL, EQUAL, STAY):
            both = sorted(mine.keys() & runs[other].keys())
            if both and other != course.key:
                theirs = {seed: runs[other][seed].score for seed in both}
                behind[other] = paired({seed: mine[seed].score for seed in both}, theirs)
        jumps = [abs(jump) for run in mine.values() for jump in run.jumps]
        rows.append(
            NexusRow(
                course, rate, len(mine), next(iter(mine.values())).parameters, _mean(mine, "flops") / unit,
                _mean(mine, "seconds"), interval([run.score for run in mine.values()]), behind,
                max(jumps) if course.stages and jumps else None,
            )
        )  # fmt: skip
    points = [(k, loss) for k, some in enumerate(_stages(results)) for loss in some]
    return NexusReport(results, tuple(rows), fit_law([k for k, _ in points], [loss for _, loss in points]))


def _stages(results: NexusResults) -> list[list[float]]:
    """Final losses after 0, 1, ... growths, each with a decay of its own."""
    last = len(results.size.inner) - 1
    keys = [*(stage_key(k) for k in range(last)), GROWN]
    by_key = {course.key: course for course in results.courses}
    return [[run.score for run in results.of(by_key[key]).values()] for key in keys]


def _mean(runs: Mapping[int, Ended], name: str) -> float:
    return statistics.fmean(float(getattr(run, name)) for run in runs.values()) if runs else 0.0


def cells(row: NexusRow) -> list[str]:
    """A row of the table."""
    return [
        row.course.label, f"{row.rate:g}", str(row.seeds), f"{row.parameters:,}", f"{row.flops:.2f}",
        f"{row.seconds:.0f}", score(row.loss, "loss"), _signed(row.behind.get(FULL)), _signed(row.behind.get(EQUAL)),
        NONE if row.jump is None else f"{row.jump:.1g}",
    ]  # fmt: skip


def sentences(report: NexusReport) -> Iterator[str]:
    """Whether growing saves compute, what the dead growth gave, and the growth law."""
    grown, full = report.row(GROWN), report.row(FULL)
    if grown is None or full is None or not grown.behind:
        yield "There are not enough runs to say anything yet."
        return
    yield (
        f"Does growing save compute? With {grown.flops:.2f} of the FLOPs of the final size from scratch, growing ends "
        f"{_signed(grown.behind.get(FULL))} nats from it: {_verdict(grown.behind.get(FULL), 'it reaches its loss')}."
    )
    if EQUAL in grown.behind:
        yield (
            f"Against the final size from scratch at equal FLOPs: {_signed(grown.behind[EQUAL])} nats, "
            f"{_verdict(grown.behind[EQUAL], 'growing is better')}."
        )
    if STAY in grown.behind:
        yield (
            f"Against no growth with as many steps (fewer FLOPs): {_signed(grown.behind[STAY])} nats, "
            f"{_verdict(grown.behind[STAY], 'growing is better')}."
        )
    dead = report.row(DEAD)
    if dead is not None and STAY in dead.behind:
        same = abs(dead.behind[STAY].mean) < 1e-4
        words = "dead: it ends where no growth ends" if same else "not where no growth ends, though no gradient is new"
        yield f"Zeros everywhere, as printed, is {words} ({_signed(dead.behind[STAY], 5)} nats), for more FLOPs."
    tokens = report.row(TOKENS)
    if tokens is not None:
        both = {seed: run.score for seed, run in report.results.of(grown.course).items()}
        theirs = {seed: run.score for seed, run in report.results.of(tokens.course).items()}
        seeds = sorted(both.keys() & theirs.keys())
        if seeds:
            found = paired({seed: both[seed] for seed in seeds}, theirs)
            yield (
                f"Against TokenFormer grown to as many parameters: {_signed(found)} nats, "
                f"{_verdict(found, 'growing M and A is better')}."
            )
    if report.law is None:
        yield "Growth law: not enough points for a fit."
    else:
        yield f"Growth law, each point with its stage's steps more and a decay of its own: {report.law}."
    missing = [c.label for c in report.results.courses if report.row(c.key) is None]
    if missing:
        yield f"Not run yet: {'; '.join(missing)}."


def markdown(report: NexusReport) -> str:
    """The table and the sentences, for a document."""
    lines = [f"| {' | '.join(HEADERS)} |", f"|{' --- |' * len(HEADERS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in report.rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in sentences(report))]) + "\n"


def figure(report: NexusReport) -> Any:
    """Final losses against FLOPs, and the growth law."""
    drawn = new_figure(10.0, 4.4)
    left, right = drawn.subplots(1, 2)
    for panel in (left, right):
        dress(panel, "loss")
    for row in report.rows:
        half = 0.0 if math.isnan(row.loss.half) else row.loss.half
        marker, colour = "o" if row.course.stages else "s", _COLOURS.get(row.course.key, _STAGE)
        left.errorbar(
            row.flops, row.loss.mean, yerr=half, color=colour, marker=marker, linestyle="", label=row.course.label
        )
    left.set_xlabel("FLOPs of the whole run; the final size from scratch is 1")
    left.set_ylabel("final validation loss, nats per byte")
    left.legend(frameon=False, fontsize=7)
    for k, some in enumerate(_stages(report.results)):
        right.plot([k] * len(some), some, color=_COLOURS[GROWN], marker="o", linestyle="", markersize=4)
    if report.law is not None:
        steps = [k / 20 for k in range(20 * len(report.results.size.inner))]
        style = "-" if report.law.determined else ":"
        note = "L_inf + c q^k" if report.law.determined else "L_inf + c q^k, not determined"
        right.plot(steps, [report.law.at(k) for k in steps], color=_STAGE, linestyle=style, label=note)
        right.legend(frameon=False, fontsize=8)
    right.set_xlabel("growths so far")
    right.set_ylabel("final validation loss of a run that stops there")
    return drawn


def write_nexus(results: NexusResults, folder: Path) -> NexusReport:
    """Write table.md, summary.json and nexus.svg into the folder.

    Raises:
        MissingExtraError: matplotlib or scipy is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    report = summarise_nexus(results)
    (folder / "table.md").write_text(markdown(report))
    (folder / "summary.json").write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    if report.rows:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "net2net nexus"}):
            (folder / "nexus.svg").write_text(svg(figure(report), "Growing projections: losses against FLOPs"))
    return report


def _verdict(difference: Interval | None, claim: str) -> str:
    """Whether a claim that a difference is below 0 is seen; a single seed shows nothing."""
    if difference is None or math.isnan(difference.mean):
        return "not comparable"
    if math.isnan(difference.half):
        return "one seed, which says little"
    return {-1: f"seen, {claim}", 0: "not told apart", 1: f"the opposite of '{claim}' is seen"}[difference.sign]


def _signed(value: Interval | None, places: int = 3) -> str:
    if value is None:
        return NONE
    half = "" if math.isnan(value.half) else f" ± {value.half:.{places}f}"
    return f"{value.mean:+.{places}f}{half}".replace("-", "\N{MINUS SIGN}")
