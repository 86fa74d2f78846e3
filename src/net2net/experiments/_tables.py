"""The tables of an experiment: headers and rows of text, for the page, for documents and for terminals."""

from __future__ import annotations

import math

from net2net.experiments._findings import findings
from net2net.experiments._results import CONTINUED
from net2net.experiments._statistics import Interval
from net2net.experiments._summary import ArmSummary, GroupSummary, Summary, Versus
from net2net.experiments._words import NONE, fall, lead, part, ratio, score

Cells = tuple[list[str], list[list[str]]]


def cells(group: GroupSummary, summary: Summary) -> Cells:
    """What an arm saves: leads over random initialisation, final score, and ratios to what it took."""
    headers = [
        "arm", "rate", "lead over scratch", "lead over scratch at equal compute", "final score",
        "steps to scratch's score", "FLOPs, teacher free", "FLOPs, teacher counted",
    ]  # fmt: skip
    return headers, [_savings(arm, group, summary.header.metric) for arm in group.arms]


def score_cells(group: GroupSummary, summary: Summary) -> Cells:
    """The scores before training, on the way, and at the end of each budget."""
    metric = summary.header.metric
    budgets = sorted({b for arm in group.arms for b in arm.ends})
    headers = ["arm", "error at step 0", "score at step 0", "largest fall", *(f"end, {part(b)}" for b in budgets)]
    rows = [
        [
            arm.label,
            NONE if arm.error is None else f"{arm.error:.0e}",
            score(arm.start, metric),
            NONE if arm.scratch is None else fall(arm.lowest, metric),
            *(score(arm.ends[b], metric) if b in arm.ends else NONE for b in budgets),
        ]
        for arm in group.arms
    ]
    return headers, rows


def cost_cells(group: GroupSummary, summary: Summary) -> Cells:
    """What a step costs, and the ratios of time; and those to the score of scratch at equal compute."""
    headers = [
        "arm", "parameters", "FLOPs a step", "time a step", "time, teacher free", "time, teacher counted",
        "steps to equal compute's score", "FLOPs, teacher free", "FLOPs, teacher counted",
    ]  # fmt: skip
    rows = [
        [
            arm.label,
            f"{arm.parameters:,}",
            f"{arm.step_flops:.2e}",
            f"{1000 * arm.step_seconds:.3g} ms",
            *(["1", "1"] if arm.scratch is None else [ratio(arm.scratch.seconds), ratio(arm.scratch.seconds_counted)]),
            *_ratios(arm, arm.equal),
        ]
        for arm in group.arms
    ]
    return headers, rows


def rate_cells(group: GroupSummary, summary: Summary) -> Cells:
    """The scores by which each arm chose its learning rates, a column for each budget and rate; the best are marked."""
    rates, metric = sorted(summary.header.rates, reverse=True), summary.header.metric
    rows = []
    for arm in group.arms:
        cells = [
            "" if rate not in choice.scores
            else score(Interval(choice.scores[rate], math.nan), metric) + (" *" if rate == choice.best else "")
            for choice in arm.choices for rate in rates
        ]  # fmt: skip
        rows.append([arm.label, *cells])
    return ["arm", *(f"{rate:g} at {part(b)}" for b in summary.header.choice_budgets for rate in rates)], rows


def markdown(summary: Summary) -> str:
    """The findings and the tables of every group, for a document."""
    parts = []
    for group in summary.groups:
        if len(summary.groups) > 1:
            parts.append(f"**{group.name}**")
        parts.append("\n".join(f"- {line}" for line in findings(group, summary.header.metric)))
        parts += [_grid(*cells(group, summary)), _grid(*score_cells(group, summary))]
    if summary.missing:
        parts.append(f"Not finished: {missing(summary)}.")
    return "\n\n".join(parts) + "\n"


def missing(summary: Summary) -> str:
    """The arms that aren't finished, with how many of their seeds are."""
    group_of = {key: name for name, keys in summary.header.groups.items() for key in keys}
    total, several = len(summary.header.seeds), len(summary.header.groups) > 1

    def name(key: str) -> str:
        label = summary.header.arms[key]
        return f"{label} [{group_of[key]}]" if several and key in group_of else label

    return "; ".join(f"{name(key)} ({count} of {total} seeds)" for key, count in summary.missing.items())


def _savings(arm: ArmSummary, group: GroupSummary, metric: str) -> list[str]:
    if arm.scratch is None or arm.equal is None:
        leads, end = [NONE, NONE], group.scratch.score
    else:
        leads, end = [lead(v.lead, metric) for v in (arm.scratch, arm.equal)], arm.ends[max(arm.ends)]
    mark = " (best)" if group.best and arm is group.best[0] else " (tied)" if arm.tied else ""
    return [arm.label, f"{arm.rates[max(arm.ends)]:g}", *leads, score(end, metric) + mark, *_ratios(arm, arm.scratch)]


def _ratios(arm: ArmSummary, versus: Versus | None) -> list[str]:
    if versus is None:
        return ["1", "1", "1"]
    # The continued teacher's steps are cheaper ones: only its FLOPs compare.
    steps = NONE if arm.key.startswith(CONTINUED) else ratio(versus.steps)
    return [steps, ratio(versus.flops), ratio(versus.flops_counted)]


def _grid(headers: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (headers, ["---"] * len(headers), *rows))
