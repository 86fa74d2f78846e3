"""The figures of an experiment: learning curves, and what a score takes."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._results import TEACHER, Results, Run
from net2net.experiments._statistics import GroupSummary, Summary, equal_budget, is_grown

# Colours that readers with colour-blindness tell apart (Okabe and Ito), by the kind of an arm.
COLOURS = {
    "net2net": "#0072b2",
    "paper": "#e69f00",
    "hypercloning": "#e69f00",
    "copies": "#d55e00",
    "stack": "#d55e00",
    "random_pad": "#cc79a7",
    "random": "#cc79a7",
    "zero_random": "#56b4e9",
    "g_zero": "#8f7d00",
    "scratch": "#009e73",
    "continued": "#777777",
    TEACHER: "#1f2933",
}
_INK, _FAINT = "#1f2933", "#d5dae1"
Axis = tuple[str, Callable[[Run], float]]
_AXES: tuple[Axis, ...] = (
    ("training steps", lambda run: 1.0),
    ("FLOPs", lambda run: run.flops),
    ("seconds on one core", lambda run: run.seconds),
)


def colour(key: str, group: str) -> str:
    """The colour of an arm: the same in every experiment."""
    return COLOURS.get(key.removesuffix(f"_{group}"), _INK)


def learning_curves(results: Results, summary: Summary, group: GroupSummary) -> Any:
    """Training and validation scores of the longest runs, against steps, FLOPs and time.

    In FLOPs and time grown networks begin where the teacher, whose curve is shown, ended.
    """
    header = results.header
    figure = _figure(12.5, 7.2)
    panels = figure.subplots(2, len(_AXES), sharey="row")
    teachers = [run for run in results.final(TEACHER) if run.seed in header.seeds]
    for column, (title, cost) in enumerate(_AXES):
        for row, part in enumerate((f"train_{header.metric}", header.metric)):
            panel = panels[row][column]
            before = teachers[0].steps * cost(teachers[0]) if column else 0.0
            if column:
                _band(panel, teachers, part, cost, 0.0, COLOURS[TEACHER], "The teacher", dashed=True)
            for arm in group.arms:
                runs = _longest(results, arm.key)
                begin = 0.0 if arm.key.startswith("scratch") else before
                if arm.key.startswith("continued") and not column:
                    continue  # its steps are cheaper ones
                _band(panel, runs, part, cost, begin, colour(arm.key, group.name), arm.label)
            if row:
                panel.axhline(group.teacher.mean, color=_INK, linewidth=1, linestyle=(0, (1, 2)), zorder=1)
                panel.set_xlabel(title)
            if not column:
                panel.set_ylabel(f"{'validation' if row else 'training'} {header.metric}")
            _dress(panel)
    for row in (0, 1):
        _zoom(panels[row], header.metric)
    _legend(figure, panels[1][1])
    return figure


def compute(results: Results, summary: Summary, group: GroupSummary) -> Any:
    """The score at the end of whole runs against their FLOPs: the teacher free, and counted."""
    header = results.header
    figure = _figure(11, 4.6)
    panels = figure.subplots(1, 2, sharey=True)
    teacher = next(run for run in results.final(TEACHER) if run.seed in header.seeds)
    for counted, panel in enumerate(panels):
        for arm in group.arms:
            runs = results.final(arm.key)
            points = []
            for budget, end in arm.ends.items():
                run = next(run for run in runs if run.budget == budget)
                extra = teacher.steps * teacher.flops if counted and not arm.key.startswith("scratch") else 0.0
                points.append((run.steps * run.flops + extra, end))
            shade = colour(arm.key, group.name)
            panel.errorbar(
                [x for x, _ in points], [y.mean for _, y in points],
                yerr=None if any(y.half != y.half for _, y in points) else [y.half for _, y in points],
                color=shade, marker="o" if is_grown(arm.key) else "s", markersize=4.5, linewidth=1.8, capsize=2.5,
                elinewidth=1, label=arm.label, zorder=3,
            )  # fmt: skip
        panel.axhline(
            group.teacher.mean, color=_INK, linewidth=1, linestyle=(0, (1, 2)), label="The teacher at its end"
        )
        panel.axhline(group.target.mean, color=COLOURS["scratch"], linewidth=0.8, linestyle=(0, (5, 3)), zorder=1)
        panel.set_xscale("log")
        panel.set_xlabel(f"FLOPs of the run{', and of the teacher' if counted else ''}")
        panel.set_title("Teacher counted" if counted else "Teacher free", loc="left", fontsize=10)
        _dress(panel)
    panels[0].set_ylabel(f"final validation {header.metric}")
    _legend(figure, panels[0])
    return figure


def _longest(results: Results, key: str) -> list[Run]:
    """The runs of an arm at its longest budget; of scratch at equal compute."""
    runs = results.final(key)
    budget = equal_budget(results, key) if key.startswith("scratch") else max(run.budget for run in runs)
    return [run for run in runs if run.budget == budget]


def _band(
    panel: Any, runs: list[Run], part: str, cost: Callable[[Run], float], begin: float, shade: str, label: str,
    dashed: bool = False,
) -> None:  # fmt: skip
    """The mean of the seeds, in a band from the lowest to the highest."""
    points = [[p for p in run.points if getattr(p, part) is not None] for run in runs]
    each = statistics.median(cost(run) for run in runs)
    x = [begin + p.step * each for p in points[0]]
    columns = list(zip(*([getattr(p, part) for p in some] for some in points), strict=True))
    panel.fill_between(x, [min(c) for c in columns], [max(c) for c in columns], color=shade, alpha=0.15, linewidth=0)
    style = (0, (4, 2)) if dashed else "-"
    panel.plot(x, [statistics.fmean(c) for c in columns], color=shade, linewidth=1.7, linestyle=style, label=label)


def _zoom(panels: Any, metric: str) -> None:
    """The part of the range in which the arms differ: without the first points of random networks."""
    values = sorted(v for panel in panels for line in panel.get_lines() for v in line.get_ydata())
    if metric == "accuracy":
        low, high = values[len(values) // 8], values[-1]
    else:
        low, high = values[0], values[-1 - len(values) // 8]
    margin = 0.06 * (high - low)
    panels[0].set_ylim(low - margin, high + margin)


def _figure(width: float, height: float) -> Any:
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib: install net2net[experiments].") from error
    # Text stays text: a tenth of the size, and it can be searched.
    matplotlib.rcParams["svg.fonttype"] = "none"
    matplotlib.rcParams["svg.hashsalt"] = "net2net"
    return Figure(figsize=(width, height), layout="constrained", dpi=110)


def _dress(panel: Any) -> None:
    panel.grid(color=_FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(color=_FAINT, labelcolor=_INK, labelsize=8.5)


def _legend(figure: Any, panel: Any) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
