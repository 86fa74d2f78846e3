"""What the experiment on experts says: a table with gap closures beside the paper's, a figure, and sentences."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._experts import ARMS, DENSE, DENSE_ON, FIXED, SCRATCH, ExpertArm
from net2net.experiments._experts_results import ExpertResults, ExpertRun
from net2net.experiments._experts_run import chosen
from net2net.experiments._looks import INK, dress, new_figure
from net2net.experiments._plan import CHOICE_SEED
from net2net.experiments._statistics import Interval, interval, paired
from net2net.experiments._words import NONE, score
from net2net.report import svg, table

HEADERS = (
    "arm", "rate", "parameters", "FLOPs after", "in all", "seconds", "loss before", "after growth", "final loss",
    "less trained on", "gap closed", "the paper's",
)  # fmt: skip
# Validation losses after 50,000 steps of continued training, 32 -> 64 experts (arXiv 2604.19835, table on strategies).
_PAPER = {FIXED: 2.809, SCRATCH: 2.758, "random": 2.963, "free": 2.769, "free_utility": 2.759}
_COLOURS = (
    "#7a828c", "#1f2933", "#cc79a7", "#e69f00", "#d55e00", "#56b4e9", "#0072b2", "#009e73", "#999933", "#44aa99",
    "#882255",
)  # fmt: skip


@dataclass(frozen=True)
class ExpertRow:
    """One arm over the seeds.

    Attributes:
        arm, rate: which, and its learning rate.
        seeds: how many.
        parameters: at the end.
        after, flops: FLOPs of its own run (with the utility of experts), and with its teacher's; relative to the
            mixture from scratch.
        tokens: of its own run, and with its teacher's.
        seconds: processor time of its own run.
        before, start, end: losses of its teacher at the end, of itself before its first step and at its end.
        lead: its final loss less that of its teacher trained on, seed by seed; None for that one, and from scratch.
        closure: the part of the gap that it closes; None where there is none to close.
        error: of the growth, the largest of the seeds.
    """

    arm: ExpertArm
    rate: float
    seeds: int
    parameters: int
    after: float
    flops: float
    tokens: tuple[int, int]
    seconds: float
    before: Interval | None
    start: Interval
    end: Interval
    lead: Interval | None
    closure: float | None
    error: float | None


@dataclass(frozen=True)
class ExpertReport:
    """The experiment's findings, for readers."""

    results: ExpertResults
    rows: tuple[ExpertRow, ...]
    pairs: Mapping[tuple[str, str], Interval]

    def text(self) -> str:
        """The table and the sentences, for a terminal."""
        lines = [table(HEADERS, [cells(row) for row in self.rows], right=range(1, len(HEADERS))), ""]
        return "\n".join([*lines, *(f"- {line}" for line in sentences(self))])

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        plain = [{**vars(row), "arm": row.arm.key, "paper": paper_closure(row.arm.key)} for row in self.rows]
        found = {**self.results.settings, "findings": list(sentences(self)), "rows": plain}
        text = json.dumps(found, default=lambda value: [value.mean, value.half])
        return json.loads(text.replace("NaN", "null"))  # type: ignore[no-any-return]  # JSON is read again


def paper_closure(arm: str) -> float | None:
    """The part of the gap that the paper's arm closed.

    Example:
        >>> round(paper_closure("free_utility"), 2), paper_closure("replica")
        (0.98, None)
    """
    if arm not in _PAPER or arm in (FIXED, SCRATCH):
        return None
    return (_PAPER[FIXED] - _PAPER[arm]) / (_PAPER[FIXED] - _PAPER[SCRATCH])


def summarise_experts(results: ExpertResults) -> ExpertReport:
    """What the finished runs say; also in the middle of an experiment. Arms are compared over the seeds of both."""
    reported = {run.seed for run in results.runs} - {CHOICE_SEED}
    runs: dict[str, dict[int, ExpertRun]] = {}
    for run in results.runs:
        if run.seed in reported and run.rate == chosen(results, run.arm):
            runs.setdefault(run.arm, {})[run.seed] = run
    ends = {arm: {seed: run.score for seed, run in some.items()} for arm, some in runs.items()}

    def less(arm: str, other: str) -> Interval | None:
        both = ends.get(arm, {}).keys() & ends.get(other, {}).keys()
        return paired({s: ends[arm][s] for s in sorted(both)}, ends[other]) if both else None

    unit = _mean(runs.get(SCRATCH, {}), "flops") or 1.0
    gap = less(SCRATCH, FIXED)
    rows = []
    for arm in ARMS:
        mine = runs.get(arm.key)
        if not mine:
            continue
        teachers = {seed: runs[arm.teacher][seed] for seed in mine if seed in runs.get(arm.teacher, {})}
        lead = less(arm.key, DENSE_ON if arm.teacher == DENSE else FIXED)
        own = _mean(mine, "flops") + _mean(mine, "scoring")
        tokens = round(_mean(mine, "tokens"))
        closes = arm.teacher not in (DENSE, "") and arm.key != FIXED and gap is not None and gap.mean < 0
        errors = [run.error for run in mine.values() if run.error is not None]
        rows.append(
            ExpertRow(
                arm,
                chosen(results, arm.key),
                len(mine),
                round(_mean(mine, "parameters")),
                own / unit,
                (own + _mean(teachers, "flops")) / unit,
                (tokens, tokens + round(_mean(teachers, "tokens"))),
                _mean(mine, "seconds"),
                interval([run.score for run in teachers.values()]) if teachers else None,
                interval([run.start for run in mine.values()]),
                interval([run.score for run in mine.values()]),
                None if arm.key in (FIXED, DENSE_ON) else lead,
                lead.mean / gap.mean if closes and lead is not None and gap is not None else None,
                max(errors, default=None),
            )
        )
    wanted = (*_CLAIMS, (SCRATCH, FIXED, ""))
    pairs = {(a, b): found for a, b, _ in wanted if (found := less(a, b)) is not None}
    return ExpertReport(results, tuple(rows), pairs)


def _mean(runs: Mapping[int, ExpertRun], name: str) -> float:
    return statistics.fmean(float(getattr(run, name)) for run in runs.values()) if runs else 0.0


def cells(row: ExpertRow) -> list[str]:
    """A row of the table."""
    closed = [NONE if c is None else _minus(f"{c:.0%}") for c in (row.closure, paper_closure(row.arm.key))]
    return [
        row.arm.label, f"{row.rate:g}", f"{row.parameters:,}", f"{row.after:.2f}", f"{row.flops:.2f}",
        f"{row.seconds:.0f}", NONE if row.before is None else score(row.before, "loss"), score(row.start, "loss"),
        score(row.end, "loss"), _signed(row.lead), *closed,
    ]  # fmt: skip


# Pairs of arms, and what is claimed of the first one: by the paper, or by this library.
_CLAIMS = (
    ("free", FIXED, "Copies with free routing end below the mixture trained on (the paper's claim)"),
    ("free", "random", "Copies end below random new experts (the paper's claim)"),
    ("free_utility", "free", "Copies by utility end below uniform ones (the paper's claim)"),
    ("replica", "free", "Replica routing ends below free routing, uniform copies"),
    ("replica_utility", "free_utility", "Replica routing ends below free routing, copies by utility"),
    ("raise_k", "replica", "More experts per token (K -> mK) end below replica routing"),
    ("dense_copies", DENSE_ON, "A mixture of copies ends below the dense network trained on"),
    ("dense_parts", DENSE_ON, "A mixture of halves ends below the dense network trained on, with its compute"),
)


def sentences(report: ExpertReport) -> Iterator[str]:
    """The gap, and every claim: seen or not."""
    gap = report.pairs.get((SCRATCH, FIXED))
    if gap is None:
        yield "There are not enough runs to say anything yet."
        return
    words = {
        -1: "so there is a gap to close",
        0: "not told apart, so gap closures here are mostly noise",
        1: "so there is no gap to close, and closures mean nothing",
    }[gap.sign]
    yield f"Less fixed E trained on, fixed mE from scratch with as many tokens in all is {_signed(gap)}: {words}."
    tokens = {row.arm.key: row.tokens for row in report.rows}
    after, whole = tokens[FIXED]
    yield f"Tokens: {after:,} after a teacher, {whole:,} in all; {tokens[SCRATCH][0]:,} from scratch."
    for ours, theirs, claim in _CLAIMS:
        found = report.pairs.get((ours, theirs))
        if found is not None:
            seen = {-1: "seen", 0: "not told apart", 1: "the opposite is seen"}[found.sign]
            yield f"{claim}: {seen} ({_signed(found)} nats)."
    exact = [row for row in report.rows if row.error is not None and row.error <= 1e-5]
    rest = [row for row in report.rows if row.error is not None and row.error > 1e-5]
    if exact:
        yield f"At the growth exact: {'; '.join(row.arm.label for row in exact)}."
    if rest:
        yield (
            "Not exact, with the largest relative error: "
            + "; ".join(f"{r.arm.label} {r.error:.2g}" for r in rest)
            + "."
        )
    missing = [arm.label for arm in ARMS if arm.key not in {row.arm.key for row in report.rows}]
    if missing:
        yield f"Not run yet: {'; '.join(missing)}."


def markdown(report: ExpertReport) -> str:
    """The table and the sentences, for a document."""
    lines = [f"| {' | '.join(HEADERS)} |", f"|{' --- |' * len(HEADERS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in report.rows]
    return "\n".join([*lines, "", *(f"- {line}" for line in sentences(report))]) + "\n"


def figure(report: ExpertReport) -> Any:
    """Every arm against training its teacher on, with the FLOPs that it took; and the losses on the way."""
    drawn = new_figure(11.0, 4.4)
    left, right = drawn.subplots(1, 2)
    colours = dict(zip((arm.key for arm in ARMS), _COLOURS, strict=True))
    compared = [row for row in report.rows if row.lead is not None]
    for place, row in enumerate(compared):
        assert row.lead is not None
        half = 0.0 if math.isnan(row.lead.half) else row.lead.half
        left.errorbar(row.lead.mean, place, xerr=half, color=colours[row.arm.key], marker="o", capsize=3)
    left.set_yticks(range(len(compared)), [f"{row.arm.label} ({row.flops:.2f})" for row in compared])
    left.set_ylim(len(compared) - 0.5, -0.5)
    left.axvline(0.0, color=INK, linewidth=0.8)
    for row in report.rows:
        points = _curve(report, row)
        style = ":" if row.arm.options is None else "-"
        right.plot(*zip(*points, strict=True), color=colours[row.arm.key], linewidth=1.3, linestyle=style)
    for panel in (left, right):
        dress(panel, "loss")
    left.set_xlabel("final loss less that of the teacher trained on, nats per byte\n(in brackets: FLOPs in all)")
    right.set_xlabel("steps after the growth (dotted: nothing grew)")
    right.set_ylabel("loss on some of the validation text")
    return drawn


def _curve(report: ExpertReport, row: ExpertRow) -> list[tuple[int, float]]:
    """The losses of an arm on the way, over its seeds; from scratch those of the second half, with the same tokens."""
    runs = [run for run in report.results.runs
            if (run.arm, run.rate) == (row.arm.key, row.rate) and run.seed != CHOICE_SEED]  # fmt: skip
    first = runs[0].steps // 2 if row.arm.key == SCRATCH else 0
    curves = zip(*(run.curve for run in runs), strict=True)
    points = [(some[0][0] - first, statistics.fmean(loss for _, loss in some)) for some in curves]
    return [point for point in points if point[0] >= 0]


def write_experts(results: ExpertResults, folder: Path) -> ExpertReport:
    """Write table.md, summary.json and experts.svg into the folder.

    Raises:
        MissingExtraError: matplotlib or scipy is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    report = summarise_experts(results)
    (folder / "table.md").write_text(markdown(report))
    (folder / "summary.json").write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    if report.rows:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "net2net experts"}):
            (folder / "experts.svg").write_text(svg(figure(report), "Losses of mixtures with more experts"))
    return report


def _signed(value: Interval | None) -> str:
    if value is None:
        return NONE
    half = "" if math.isnan(value.half) else f" ± {value.half:.3f}"
    return _minus(f"{value.mean:+.3f}{half}")


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")
