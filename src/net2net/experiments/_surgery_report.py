"""What the experiment on surgery says: a table, sentences, and a figure of returns against steps."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._looks import dress, legend, new_figure
from net2net.experiments._statistics import Interval, interval, paired
from net2net.experiments._surgery_results import ARMS, AgentRun, AtSurgery, SurgeryResults
from net2net.experiments._words import NONE
from net2net.report import svg, table

TASKS = {
    "cartpole": ("CartPole, PPO", "positions only", "velocities, a third action, 16 to 64 units"),
    "masked": (
        "CartPole, RecurrentPPO",
        "positions only",
        "the pole's velocity, a third action, an LSTM of 16 to 32 units",
    ),
    "acrobot": ("Acrobot, DQN", "angles and two torques", "velocities, a third action, 16 to 64 units"),
}
_COLOURS = {"before": "#1f2933", "grown": "#0072b2", "continued": "#7a828c", "scratch": "#009e73"}
HEADERS = (
    "agent", "seeds", "before the surgery", "operated on", "trained on as it was", "from scratch, equal steps after",
    "from scratch, all steps", "less as it was", "less scratch, equal steps", "less scratch, all steps",
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Returns of one agent over its seeds: each the mean of the last three points of a run."""

    task: str
    seeds: tuple[int, ...]
    at: tuple[AtSurgery, ...]
    before: Interval
    grown: Interval
    continued: Interval
    scratch_equal: Interval
    scratch: Interval
    over_continued: Interval
    over_equal: Interval
    over_scratch: Interval


@dataclass(frozen=True)
class SurgeryReport:
    """The experiment's findings, for readers."""

    results: SurgeryResults

    def text(self) -> str:
        """The table and the sentences, for a terminal."""
        found = outcomes(self.results)
        return "\n".join([table(HEADERS, rows(found)), "", *(f"- {line}" for line in sentences(found))])

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        found = outcomes(self.results)
        plain = json.loads(json.dumps([asdict(one) for one in found]).replace("NaN", "null"))
        return {**self.results.settings, "findings": list(sentences(found)), "agents": plain}


def outcomes(results: SurgeryResults) -> list[Outcome]:
    """Every agent of which at least one seed is finished."""
    found = []
    for task in TASKS:
        seeds = results.seeds(task)
        if not seeds:
            continue
        runs = {arm: [results.of(task, arm)[seed] for seed in seeds] for arm in ARMS}
        ends = {arm: {run.seed: run.score() for run in some} for arm, some in runs.items()}
        # As many steps as the one that was operated on had after the surgery.
        equal = {run.seed: run.score(_after(results, task, run.seed)) for run in runs["scratch"]}
        found.append(
            Outcome(
                task,
                tuple(seeds),
                tuple(run.at for run in runs["grown"] if run.at is not None),
                _mean_of(ends["before"]),
                _mean_of(ends["grown"]),
                _mean_of(ends["continued"]),
                _mean_of(equal),
                _mean_of(ends["scratch"]),
                paired(ends["grown"], ends["continued"]),
                paired(ends["grown"], equal),
                paired(ends["grown"], ends["scratch"]),
            )
        )
    return found


def _mean_of(scores: Mapping[int, float]) -> Interval:
    return interval(list(scores.values()))


def _after(results: SurgeryResults, task: str, seed: int) -> float:
    points = results.of(task, "grown")[seed].points
    return points[-1][0] - points[0][0]


def rows(found: list[Outcome]) -> list[list[str]]:
    """A row for each agent."""
    return [
        [TASKS[one.task][0], str(len(one.seeds))]
        + [_number(v) for v in (one.before, one.grown, one.continued, one.scratch_equal, one.scratch)]
        + [_number(v, "+") for v in (one.over_continued, one.over_equal, one.over_scratch)]
        for one in found
    ]


def sentences(found: list[Outcome]) -> Iterator[str]:
    """What happened at each surgery, and what came of it."""
    for one in found:
        title, before, after = TASKS[one.task]
        same = "the same action at" if all(at.same and at.equal for at in one.at) else "NOT the same at"
        steps, episodes = sum(at.steps for at in one.at), sum(at.episodes for at in one.at)
        drawn = [at.sampled for at in one.at if at.sampled is not None]
        words = f", and {'so' if all(drawn) else 'not so'} with actions drawn by the same numbers" if drawn else ""
        yield (
            f"{title} ({before}; then {after}): at the surgery {same} each of {steps:,} steps of "
            f"{episodes} episodes{words}; mean return {_mean(one.at, 'before')} before and "
            f"{_mean(one.at, 'after')} after it."
        )
        yield (
            f"{title}: afterwards {_than(one.over_continued)} the agent that trained on as it was, "
            f"{_than(one.over_equal)} one from scratch with as many steps, {_than(one.over_scratch)} one from scratch "
            "with the steps before the surgery added."
        )
    missing = [TASKS[task][0] for task in TASKS if task not in {one.task for one in found}]
    if missing:
        yield f"Not run yet: {'; '.join(missing)}."


def _than(difference: Interval) -> str:
    if math.isnan(difference.half):
        return f"{'above' if difference.mean > 0 else 'not above'} ({_number(difference, '+')}, one seed)"
    words = {1: "above", 0: "not told apart from", -1: "below"}[difference.sign]
    return f"{words} ({_number(difference, '+')})"


def _mean(at: tuple[AtSurgery, ...], name: str) -> str:
    return f"{sum(getattr(one, name) for one in at) / len(at):.2f}" if at else NONE


def _number(value: Interval, sign: str = "") -> str:
    half = "" if math.isnan(value.half) else f" ± {value.half:.0f}"
    return f"{value.mean:{sign}.0f}{half}".replace("-", "\N{MINUS SIGN}")


def markdown(found: list[Outcome]) -> str:
    """The table and the sentences, for a document."""
    lines = [f"| {' | '.join(HEADERS)} |", f"|{' --- |' * len(HEADERS)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join([*lines, "", *(f"- {line}" for line in sentences(found))]) + "\n"


def figure(results: SurgeryResults, found: list[Outcome]) -> Any:
    """Returns against steps of the environment: every seed, and the surgery as a line."""
    drawn = new_figure(4.6 * len(found), 3.9)
    panels = drawn.subplots(1, len(found), squeeze=False)[0]
    for panel, one in zip(panels, found, strict=True):
        dress(panel, "return")
        for arm, label in ARMS.items():
            for k, seed in enumerate(one.seeds):
                run: AgentRun = results.of(one.task, arm)[seed]
                panel.plot(
                    *zip(*run.points, strict=True), color=_COLOURS[arm], linewidth=1, label=label if not k else None
                )
        panel.axvline(results.of(one.task, "grown")[one.seeds[0]].points[0][0], color="#d5dae1", linewidth=1.2)
        panel.set_title(TASKS[one.task][0], fontsize=10)
        panel.set_xlabel("steps of the environment")
    panels[0].set_ylabel("mean return of 20 episodes")
    legend(drawn, panels)
    return drawn


def write_surgery(results: SurgeryResults, folder: Path) -> SurgeryReport:
    """Write table.md, summary.json and returns.svg into the folder.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    report, found = SurgeryReport(results), outcomes(results)
    (folder / "table.md").write_text(markdown(found))
    (folder / "summary.json").write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    if found:
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "net2net surgery"}):
            (folder / "returns.svg").write_text(svg(figure(results, found), "Returns before and after the surgery"))
    return report
