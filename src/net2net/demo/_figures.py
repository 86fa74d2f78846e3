"""The learning curves as SVG."""

from __future__ import annotations

from typing import Any

from net2net.demo._experiment import EXPERIMENTS, Arm, Arms
from net2net.errors import MissingExtraError
from net2net.report import svg

# Colours that readers with colour-blindness tell apart.
COLOURS = {"net2net": "#0067b1", "random_pad": "#d45500", "scratch": "#00876c"}
_ALT = "Learning curves: test accuracy against training steps"
_INK, _FAINT = "#1f2933", "#d5dae1"
# In inches: an experiment in two panels side by side, or below each other.
_WIDE, _NARROW = (9.6, 4.2), (4.4, 7.4)


def curves(arms: Arms, teacher: float, *, titles: bool = False, narrow: bool = False) -> str:
    """Test accuracy against steps: the mean over the seeds in a band from the lowest to the highest.

    Each experiment has two panels, the whole range and what happens above; side by side, or below each other if
    `narrow`. Experiments stand below each other.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the demo needs matplotlib: install net2net[demo].") from error
    # A salt of its own, so that no two figures on a page use the same ids.
    style: Any = {"svg.hashsalt": f"net2net{narrow}{sorted(arms)}", "axes.edgecolor": _FAINT, "text.color": _INK}
    width, height = _NARROW if narrow else _WIDE
    with matplotlib.rc_context(style):
        figure: Any = Figure(figsize=(width, height * len(arms)), layout="constrained")
        figure.get_layout_engine().set(wspace=0.06, hspace=0.06)
        parts = figure.subfigures(len(arms), 1, squeeze=False)[:, 0]
        for part, (key, some) in zip(parts, arms.items(), strict=True):
            if titles:
                part.suptitle(EXPERIMENTS[key].title, x=0.01, ha="left", fontsize=12, fontweight="bold")
            _experiment(part, some, teacher, narrow)
        return svg(figure, _ALT)


def _experiment(part: Any, arms: list[Arm], teacher: float, narrow: bool) -> None:
    panels = part.subplots(2, 1) if narrow else part.subplots(1, 2)
    _panel(panels[0], "Whole range", (0.0, 1.02), arms, teacher)
    _panel(panels[1], "Close-up", _close_up(arms, teacher), arms, teacher)
    handles, labels = panels[0].get_legend_handles_labels()
    part.legend(handles, labels, loc="outside lower left", ncols=1 if narrow else 4, frameon=False)


def _panel(panel: Any, title: str, limits: tuple[float, float], arms: list[Arm], teacher: float) -> None:
    for arm in arms:
        steps = arm.curves[0].steps
        values = list(zip(*(curve.accuracy for curve in arm.curves), strict=True))
        colour = COLOURS[arm.key]
        low, high = [min(v) for v in values], [max(v) for v in values]
        panel.fill_between(steps, low, high, color=colour, alpha=0.16, linewidth=0)
        panel.plot(steps, arm.means, color=colour, linewidth=2, label=arm.label, zorder=3)
        if limits[0] <= arm.means[0] <= limits[1]:
            panel.plot(0, arm.means[0], "o", color=colour, markersize=5, clip_on=False, zorder=4)
    panel.axhline(teacher, color=_INK, linewidth=1.2, linestyle=(0, (5, 3)), label="Teacher", zorder=2)
    panel.set_title(title, loc="left", fontsize=10)
    panel.set_xlabel("training steps")
    panel.set_ylabel("test accuracy")
    panel.set_ylim(*limits)
    panel.set_xlim(0, arms[0].curves[0].steps[-1])
    panel.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 1):g}%")
    panel.grid(color=_FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(color=_FAINT, labelcolor=_INK)


def _close_up(arms: list[Arm], teacher: float) -> tuple[float, float]:
    """Accuracies around the teacher's and the final ones, in steps of a percent."""
    ends = [teacher, *(a for arm in arms for a in arm.at(-1))]
    starts = [a for arm in arms if arm.key != "scratch" for a in arm.at(0)]
    low = max(min([*ends, *starts]), teacher - 0.15) - 0.02
    return max(0.0, low), min(1.0, max(ends) + 0.015)
