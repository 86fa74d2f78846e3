"""The figures of an experiment: learning curves, and final scores against compute."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from net2net.experiments._looks import INK, dress, legend, look, new_figure
from net2net.experiments._results import CONTINUED, SCRATCH, TEACHER, Results, Run
from net2net.experiments._summary import ArmSummary, GroupSummary, equal_runs, is_grown, longest
from net2net.experiments._words import part

_DOTTED, _DASHED = (0, (1, 2)), (0, (4, 2))
# So much of the range below the arms that grew is left to those that start low; the rest is cut off.
_ROOM = 0.8


def learning_curves(results: Results, group: GroupSummary) -> Any:
    """Training and validation scores of the longest runs, against steps, FLOPs and time.

    In FLOPs and time what grew begins where the teacher, whose curve is shown, ended, and random initialisation is the
    run at equal compute. In steps it does so only if growth is in the middle of a training run.
    """
    header = results.header
    figure = new_figure(12.6, 7.4)
    panels = figure.subplots(2, 3, sharey="row", sharex="col")
    scratch = next(arm.key for arm in group.arms if arm.key.startswith(SCRATCH))
    teachers = [run for run in results.final(TEACHER) if run.seed in header.seeds]
    middle = header.settings.get("teacher_decays") is False
    shown = [arm for arm in group.arms if arm.key != scratch]
    runs = {arm.key: longest(results, arm.key) for arm in shown}
    equal = equal_runs(results, scratch)
    finals = teachers, equal, results.final(scratch, 1.0)
    time, unit = _time([*teachers, *equal])
    flops, power = _flops(equal)
    columns: Sequence[tuple[str, Callable[[Run], float], bool]] = (
        ("training steps", lambda run: 1.0, middle),
        (f"FLOPs, in {power}", flops, True),
        (f"{unit} of training", time, True),
    )
    for column, (title, cost, offset) in enumerate(columns):
        begin = teachers[0].steps * _median(cost, teachers) if offset else 0.0
        reference = equal if column else results.final(scratch, 1.0)
        for row, name in enumerate((f"train_{header.metric}", header.metric)):
            panel = panels[row][column]
            dress(panel, header.metric)
            _level(panel, group.teacher.score.mean, INK, _DOTTED, "Where the teacher ended")
            if offset:
                _curve(panel, teachers, name, cost, 0.0, look(TEACHER, "")[0], "The teacher", _DASHED)
            for arm in group.arms:
                if arm.key.startswith(CONTINUED) and not column:
                    continue  # its steps are cheaper ones
                mine = reference if arm.key == scratch else runs[arm.key]
                start = 0.0 if arm.key == scratch else begin
                _curve(panel, mine, name, cost, start, look(arm.key, group.name)[0], arm.label)
            panel.set_xlim(left=0)
        panels[1][column].set_xlabel(title)
        panels[0][column].set_title(f"Against {('steps', 'FLOPs', 'time')[column]}", loc="left", fontsize=11)
    for row, name in enumerate(("training", "validation")):
        panels[row][0].set_ylabel(_axis(name, header.metric))
        own = f"train_{header.metric}" if row == 0 else header.metric
        grown = [run for arm in shown if is_grown(arm.key) for run in runs[arm.key]]
        values = [getattr(p, own) for run in grown for p in run.points if getattr(p, own) is not None]
        ends = [getattr(run.points[-1], own) for some in (*finals, *runs.values()) for run in some]
        panels[row][0].set_ylim(*_limits(values, ends, header.metric))
    legend(figure, [panels[1][2], *panels[1][:2]])
    return figure


def compute(results: Results, group: GroupSummary) -> Any:
    """The score at the end of whole runs against their FLOPs: the teacher free, and counted."""
    metric = results.header.metric
    figure = new_figure(11.4, 5.2)
    panels = figure.subplots(1, 2, sharey=True)
    for counted, panel in enumerate(panels):
        dress(panel, metric)
        _level(panel, group.teacher.score.mean, INK, _DOTTED, "Where the teacher ended")
        level = "Random initialisation with its full budget"
        _level(panel, group.scratch.score.mean, look(SCRATCH, "")[0], _DASHED, level)
        for number, arm in enumerate(group.arms):
            _ends(panel, arm, group, counted * group.teacher_share, number - len(group.arms) // 2)
        panel.set_xscale("log", base=2)
        panel.xaxis.set_major_formatter(lambda value, _: part(value))
        panel.set_xlabel(
            "FLOPs of the run" + (" and its teacher" if counted else "") + ", relative to random initialisation"
        )
        panel.set_title("Teacher counted" if counted else "Teacher free", loc="left", fontsize=11)
    grown = [end for arm in group.arms if is_grown(arm.key) for end in arm.ends.values()]
    fixed = [ref.score.mean for ref in (group.scratch, group.equal, group.teacher)]
    shown = [*grown, group.equal.score]
    values = fixed + [edge for end in shown for edge in (end.mean, *_within(end, grown))]
    low, high = _range(values)
    others = _finite(end.mean for arm in group.arms if not is_grown(arm.key) for end in arm.ends.values())
    room = _ROOM * (high - low)
    if metric == "accuracy":
        low = max(min([low, *others]), low - room)
    else:
        high = min(max([high, *others]), high + room)
    margin = 0.04 * (high - low)
    panels[0].set_ylim(low - margin, high + margin)
    panels[0].set_ylabel(f"final {_axis('validation', metric)}")
    legend(figure, panels[:1])
    return figure


def _ends(panel: Any, arm: ArmSummary, group: GroupSummary, teacher: float, place: int) -> None:
    colour, marker = look(arm.key, group.name)
    scratch = arm.scratch is None
    each = arm.step_flops / group.scratch.flops
    steps = group.scratch.steps / group.scratch.budget
    if arm.key.startswith(CONTINUED):  # as many of its cheaper steps as take the students' FLOPs
        x = [budget + teacher for budget in arm.ends]
    else:
        x = [budget * steps * each + (0.0 if scratch else teacher) for budget in arm.ends]
    moved = [v * 1.012 ** (0 if scratch else place) for v in x]  # so that bars don't hide each other
    means, halves = [e.mean for e in arm.ends.values()], [e.half for e in arm.ends.values()]
    style = {"color": colour, "linewidth": 1.9, "label": arm.label, "zorder": 3, "marker": marker, "markersize": 5.5}
    if any(map(math.isnan, halves)):
        panel.plot(moved, means, **style)
    else:
        panel.errorbar(moved, means, yerr=halves, capsize=2.5, elinewidth=1, **style)
    if scratch:
        equal = max(range(len(x)), key=lambda i: -abs(list(arm.ends)[i] - group.equal.budget))
        panel.plot(x[equal], means[equal], "s", markersize=11, fillstyle="none", color=colour, zorder=4,
                   label="Random initialisation at equal compute", linestyle="none")  # fmt: skip


def _curve(
    panel: Any, runs: list[Run], name: str, cost: Callable[[Run], float], begin: float, colour: str, label: str,
    line: Any = "-",
) -> None:  # fmt: skip
    """The mean of the seeds, in a band from the lowest to the highest, with a dot at its end."""
    points = [[p for p in run.points if getattr(p, name) is not None] for run in runs]
    each = _median(cost, runs)
    x = [begin + p.step * each for p in points[0]]
    columns = list(zip(*([getattr(p, name) for p in some] for some in points), strict=True))
    if len(runs) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        panel.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
    means = [statistics.fmean(c) for c in columns]
    panel.plot(x, means, color=colour, linewidth=1.8, linestyle=line, label=label, zorder=3)
    panel.plot(x[-1], means[-1], "o", color=colour, markersize=4, zorder=4)


def _level(panel: Any, value: float, colour: str, line: Any, label: str) -> None:
    panel.axhline(value, color=colour, linewidth=1, linestyle=line, label=label)


def _limits(values: list[float], ends: list[float], metric: str) -> tuple[float, float]:
    """What the arms that grew pass through, all but the worst first points, and where all end."""
    some = sorted(_finite(values), reverse=metric != "accuracy")
    kept = some[len(some) // 32 :] if some else []
    low, high = _range([*kept, *ends])
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _within(end: Any, ends: list[Any]) -> tuple[float, float]:
    """An interval's edges, as far as it isn't so wide that the rest can't be read."""
    low, high = _range([e.mean for e in ends])
    room = max(high - low, 1e-9) / 2
    return max(end.low, low - room), min(end.high, high + room)


def _range(values: Sequence[float]) -> tuple[float, float]:
    some = _finite(values)
    if not some:
        return 0.0, 1.0
    low, high = min(some), max(some)
    return (low, high) if high > low else (low - 0.01, high + 0.01)


def _finite(values: Any) -> list[float]:
    return [v for v in values if math.isfinite(v)]


def _median(cost: Callable[[Run], float], runs: list[Run]) -> float:
    return statistics.median(cost(run) for run in runs)


def _flops(runs: list[Run]) -> tuple[Callable[[Run], float], str]:
    exponent = math.floor(math.log10(max(run.steps * run.flops for run in runs)))
    power = str(exponent).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return lambda run: run.flops / 10**exponent, f"10{power}"


def _time(runs: list[Run]) -> tuple[Callable[[Run], float], str]:
    whole = max(run.steps * run.seconds for run in runs)
    unit, name = next((u, n) for u, n in ((3600, "hours"), (60, "minutes"), (1, "seconds")) if whole >= 2 * u or u == 1)
    return lambda run: run.seconds / unit, name


def _axis(part_name: str, metric: str) -> str:
    return f"{part_name} {metric}" + (" (nats a token)" if metric == "loss" else "")
