"""What the numbers of an experiment say, in sentences, whichever way they fall."""

from __future__ import annotations

from net2net.experiments._statistics import ArmSummary, GroupSummary, Interval, Reach, is_grown

# What growing should save, relative to random initialisation: with the teacher free, and with its training counted.
FREE_GOAL, COUNTED_GOAL = 0.5, 1.0


def findings(group: GroupSummary, metric: str) -> list[str]:
    """The answer, a sentence at a time: the default, its rivals, scratch, the teacher."""
    best = group.best
    default = next((arm for arm in group.arms if is_grown(arm.key)), None)
    if default is None:
        return []
    found = [
        f"Random initialisation ends at {score(group.target, metric)}, the teacher ended at "
        f"{score(group.teacher, metric)} and took {group.teacher_flops:.2f} times its FLOPs.",
        f"{default.label} reaches the final score of random initialisation {_when(default)}.",
        _goals(default),
        f"At its longest budget it ends {_apart(default.to_scratch, metric)} random initialisation at the full budget, "
        f"and {_apart(default.to_equal, metric)} random initialisation that got the teacher's FLOPs too.",
    ]
    if len(best) > 1 and best[0].to_scratch.half == best[0].to_scratch.half:
        lead = best[0]
        tied = [arm.label for arm in best[1:] if _tied(lead, arm)]
        found.append(
            f"Best at the end: {lead.label}"
            + (f"; within its interval: {', '.join(tied)}." if tied else ", beyond its interval.")
        )
    for arm in group.arms:
        if arm is not default and is_grown(arm.key):
            found.append(f"{arm.label} gets there {_when(arm)}.")
    return found


def score(value: Interval, metric: str) -> str:
    """A score with its interval: per cent, or nats."""
    if metric == "accuracy":
        half = "" if value.half != value.half else f" ± {100 * value.half:.1f}"
        return f"{100 * value.mean:.1f}{half} %"
    half = "" if value.half != value.half else f" ± {value.half:.3f}"
    return f"{value.mean:.3f}{half} nats"


def ratio(reach: Reach) -> str:
    """A ratio with its interval, or how many seeds got there."""
    found = reach.interval
    if found is None:
        return f"not reached ({reach.reached} of {len(reach.ratios)} seeds)"
    half = "" if found.half != found.half else f" ± {found.half:.2f}"
    return f"{found.mean:.2f}{half}"


def _when(arm: ArmSummary) -> str:
    if arm.steps.interval is None:
        return f"within its largest budget with {arm.steps.reached} of {len(arm.steps.ratios)} seeds"
    return (
        f"with {ratio(arm.steps)} times its steps; in FLOPs {ratio(arm.flops)} times with the teacher free, "
        f"{ratio(arm.flops_counted)} with the teacher counted"
    )


def _goals(arm: ArmSummary) -> str:
    parts = []
    for reach, goal, words in (
        (arm.flops, FREE_GOAL, "at most half with the teacher free"),
        (arm.flops_counted, COUNTED_GOAL, "less than all with the teacher counted"),
    ):
        held = reach.interval is not None and reach.interval.mean <= goal
        parts.append(f"{words}: {'held' if held else 'missed'}")
    return f"The goals, in FLOPs: {'; '.join(parts)}."


def _apart(difference: Interval, metric: str) -> str:
    if difference.half == difference.half and abs(difference.mean) <= difference.half:
        return f"level ({_signed(difference, metric)}) with"
    return f"{'ahead of' if difference.mean > 0 else 'behind'} ({_signed(difference, metric)})"


def _signed(difference: Interval, metric: str) -> str:
    scale, unit = (100, "points") if metric == "accuracy" else (1, "nats")
    digits = 1 if metric == "accuracy" else 3
    half = "" if difference.half != difference.half else f" ± {scale * difference.half:.{digits}f}"
    return f"{scale * difference.mean:+.{digits}f}{half} {unit}"


def _tied(lead: ArmSummary, arm: ArmSummary) -> bool:
    """Whether a difference this small is within the interval of either."""
    gap = lead.to_scratch.mean - arm.to_scratch.mean
    halves = [h for h in (lead.to_scratch.half, arm.to_scratch.half) if h == h]
    return bool(halves) and gap <= max(halves)
