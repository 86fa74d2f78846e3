"""How an arm looks in every figure and table, and what all figures share."""

from __future__ import annotations

from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._results import TEACHER

INK, FAINT = "#1f2933", "#d5dae1"
# Colours that readers with colour-blindness tell apart (Okabe and Ito); markers for those who print in grey.
_LOOKS = {
    "net2net": ("#0072b2", "o"),
    "paper": ("#e69f00", "^"),
    "hypercloning": ("#e69f00", "^"),
    "copies": ("#d55e00", "D"),
    "stack": ("#d55e00", "D"),
    "random_pad": ("#cc79a7", "v"),
    "random": ("#cc79a7", "v"),
    "zero_random": ("#56b4e9", "P"),
    "g_zero": ("#8f7d00", "X"),
    "scratch": ("#009e73", "s"),
    "continued": ("#7a828c", "h"),
    TEACHER: (INK, "o"),
}
_SPARE = (("#882255", "<"), ("#332288", ">"), ("#44aa99", "p"), ("#999933", "*"))


def look(key: str, group: str) -> tuple[str, str]:
    """Colour and marker of an arm: the same in every experiment.

    Example:
        >>> look("scratch_wider", "wider") == look("scratch", "standard")
        True
    """
    name = key.removesuffix(f"_{group}")
    return _LOOKS.get(name) or _SPARE[sum(name.encode()) % len(_SPARE)]


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("figures need matplotlib: install net2net[experiments].") from error
    return Figure(figsize=(width, height), layout="constrained", dpi=120)


def dress(panel: Any, metric: str) -> None:
    """A quiet grid and frame; accuracies in per cent."""
    panel.grid(color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(FAINT)
    panel.tick_params(color=FAINT, labelcolor=INK, labelsize=9)
    if metric == "accuracy":
        panel.yaxis.set_major_formatter(lambda value, _: f"{round(100 * value, 2):g} %")


def legend(figure: Any, panels: Any) -> None:
    """One legend below, of what any of the panels shows."""
    handles: dict[str, Any] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower left", ncols=2, frameon=False, fontsize=9.5)
