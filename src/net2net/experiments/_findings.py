"""What the numbers of an experiment say, in sentences, whichever way they fall."""

from __future__ import annotations

import math
from collections.abc import Iterator

from net2net.experiments._statistics import Interval, Reach
from net2net.experiments._summary import ArmSummary, GroupSummary, Versus, is_grown
from net2net.experiments._words import fall, joined, lead, part, ratio, score, short

# What growing should save, relative to random initialisation: with the teacher free, and with its training counted.
FREE_GOAL, COUNTED_GOAL = 0.5, 1.0


def findings(group: GroupSummary, metric: str) -> list[str]:
    """The answer, a sentence or two at a time: the references, the default, the goals, its rivals, the catch-up."""
    default = default_of(group)
    found = [
        f"Random initialisation ends at {score(group.scratch.score, metric)} with its full budget, and at "
        f"{score(group.equal.score, metric)} with {part(group.equal.budget)} times these steps: the compute of the "
        f"teacher and of the longest student together. The teacher stopped at {score(group.teacher.score, metric)}; it "
        f"took {group.teacher_share:.2f} of the FLOPs of random initialisation at its full budget."
    ]
    if default is None or default.scratch is None or default.equal is None:
        return found
    name = short(default.label)
    free, counted = goals(default)
    found += [
        _start(default, metric),
        f"{name} {_reaches(default.scratch, 'the score that random initialisation ends at')}. "
        f"Goal of at most {FREE_GOAL:g} with the teacher free: {free}; goal of less than {COUNTED_GOAL:g} with the "
        f"teacher counted: {counted}.",
        f"With its longest budget, {part(max(default.ends))}, {name} ends "
        f"{_apart(default.scratch.lead, metric, 'random initialisation with its full budget')}, and "
        f"{_apart(default.equal.lead, metric, 'random initialisation at equal compute')}.",
        f"{name} {_reaches(default.equal, 'the score of random initialisation at equal compute')}.",
        *_catching_up(default, metric),
    ]
    if default.to_continued is not None:
        rival = "the teacher that trained on for the same FLOPs without growing"
        found.append(f"{name} ends {_apart(default.to_continued, metric, rival)}.")
    return [*found, *_ranking(group, metric), *_others(group, default)]


def default_of(group: GroupSummary) -> ArmSummary | None:
    """The library's default: the first arm that grows."""
    return next((arm for arm in group.arms if is_grown(arm.key)), None)


def goals(arm: ArmSummary) -> tuple[str, str]:
    """Whether the goals are held, with the teacher free and counted."""
    if arm.scratch is None:
        raise ValueError(f"{arm.key} is what others are measured by")
    return _goal(arm.scratch.flops, FREE_GOAL), _goal(arm.scratch.flops_counted, COUNTED_GOAL)


def _goal(reach: Reach, goal: float) -> str:
    found = reach.interval
    if found is None:
        return "missed"
    held = found.mean < goal if goal == COUNTED_GOAL else found.mean <= goal
    if not held:
        return "missed" if found.low > goal or math.isnan(found.half) else "missed on average, within the interval"
    return "held" if found.high <= goal else "held on average, not by the whole interval"


def _start(arm: ArmSummary, metric: str) -> str:
    error = "" if arm.error is None else f" (relative error {arm.error:.0e})"
    start = f"{short(arm.label)} starts at {score(arm.start, metric)}{error}; training with its longest budget, it"
    if arm.lowest >= 0:
        return f"{start} never falls below that."
    if math.isinf(arm.lowest):
        return f"{start} diverges."
    return f"{start} gets worse by at most {fall(arm.lowest, metric)}{_unit(metric)}."


def _reaches(versus: Versus, what: str) -> str:
    total, reached = len(versus.steps.ratios), versus.steps.reached
    if not reached:
        return f"never reaches {what} within its budgets"
    some = "" if reached == total else f"in {reached} of {total} seeds "
    values = [ratio(r).partition(" (")[0] for r in (versus.steps, versus.flops, versus.flops_counted)]
    return (
        f"{some}reaches {what} with {values[0]} of its steps; with {values[1]} of its FLOPs if the teacher is free, "
        f"{values[2]} if it is counted"
    )


def _catching_up(arm: ArmSummary, metric: str) -> Iterator[str]:
    """Where random initialisation catches up with an arm that had as many steps (the teacher free)."""
    words = {1: "ahead", 0: "level (the interval holds 0)", -1: "behind"}
    if any(math.isnan(difference.half) for difference in arm.leads.values()):
        words[0] = "not told apart (one seed)"
    where: dict[int, list[str]] = {}
    for budget, difference in arm.leads.items():
        where.setdefault(difference.sign, []).append(f"{part(budget)} ({lead(difference, metric)})")
    if where:
        parts = (f"{words[sign]} at {joined(budgets)}" for sign, budgets in where.items())
        yield (
            f"Against random initialisation after as many steps, {short(arm.label)} is {'; '.join(parts)} of the full "
            f"budget, in {_unit(metric).strip()}."
        )


def _ranking(group: GroupSummary, metric: str) -> Iterator[str]:
    best = group.best
    if len(best) < 2:
        return
    first, *rest = best
    line = f"Best way to grow at the longest budget: {short(first.label)}, {score(first.ends[max(first.ends)], metric)}"
    tied = [short(arm.label) for arm in rest if arm.tied]
    behind = [short(arm.label) for arm in rest if arm.tied is False]
    if first.tied is None:
        yield f"{line}; one seed can't say whether that is chance."
        return
    if tied:
        line += f"; tied with it (the interval of the difference, seed by seed, holds 0): {joined(tied)}"
    if behind:
        line += f"; behind it: {joined(behind)}"
    yield f"{line}."


def _others(group: GroupSummary, default: ArmSummary) -> Iterator[str]:
    for arm in group.arms:
        if arm is not default and arm.scratch is not None and is_grown(arm.key):
            yield f"{short(arm.label)} {_reaches(arm.scratch, 'that score')}."


def _apart(difference: Interval, metric: str, other: str) -> str:
    if math.isnan(difference.mean):
        return f"diverged, or so did {other}"
    shown = f"({lead(difference, metric)}{_unit(metric)})"
    if difference.sign:
        return f"{'ahead of' if difference.sign > 0 else 'behind'} {other} {shown}"
    if math.isnan(difference.half):
        return f"{'above' if difference.mean > 0 else 'below'} {other} {shown}, with one seed"
    return f"level with {other} {shown}"


def _unit(metric: str) -> str:
    return " points" if metric == "accuracy" else " nats"
