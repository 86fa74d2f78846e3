"""What the numbers say, whichever start they speak for."""

from __future__ import annotations

from net2net.demo._experiment import Arm, spread
from net2net.report import percent, steps


def findings(arms: list[Arm], teacher: float) -> list[str]:
    """An experiment in sentences; the order of the arms is the measured one."""
    student = arms[0]
    lowest = min(student.means[1:])
    training = "stays at or above it" if lowest >= teacher else f"falls to {percent(lowest)} at the lowest"
    ranked = sorted(arms, key=lambda arm: arm.means[-1], reverse=True)
    best, second = ranked[:2]
    lead = best.means[-1] - second.means[-1]
    more = "more" if lead > max(spread(best.at(-1)), spread(second.at(-1))) else "no more"
    lines = [
        f"{student.label} starts at {percent(student.means[0])}, the teacher's own accuracy; while it trains, its mean "
        f"{training}.",
        *(_other(arm, teacher) for arm in arms[1:]),
        f"At the end: {', '.join(f'{_short(arm)} {percent(arm.means[-1])}' for arm in ranked)}. The first leads the "
        f"second by {100 * lead:.1f} points, {more} than one standard deviation over the seeds.",
    ]
    ahead = [_short(arm) for arm in ranked[: ranked.index(student)]]
    if ahead:
        lines.append(
            f"What {student.label} kept here is the head start, not the lead: {' and '.join(ahead)} ended ahead of it. "
            "A network this small is trained again in seconds."
        )
    return lines


def _other(arm: Arm, teacher: float) -> str:
    what = {
        "random_pad": "Random pad keeps the teacher's weights too, but fills the rest with random numbers: it",
        "scratch": "With random weights, the same network",
    }[arm.key]
    return f"{what} starts at {percent(arm.means[0])} and reaches the teacher's accuracy {_when(arm, teacher)}."


def _short(arm: Arm) -> str:
    name = arm.label.partition(" (")[0]
    return name if arm.key == "net2net" else name.lower()


def _when(arm: Arm, level: float) -> str:
    found = arm.steps_to([level] * len(arm.curves))
    text, separator, seeds = steps(found).partition(" (")
    if text == "never":
        return "in no run"
    when = "at once" if text == "0" else f"after {text} steps"
    return f"{when} in {seeds.rstrip(')')}" if separator else when
