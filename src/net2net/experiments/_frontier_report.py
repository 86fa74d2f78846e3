"""What an experiment of courses says: a table, a figure of score against FLOPs, and the goals, met or missed."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net2net.errors import MissingExtraError
from net2net.experiments._frontier import Frontier, Place
from net2net.experiments._looks import INK, dress, new_figure
from net2net.experiments._statistics import Interval
from net2net.experiments._words import NONE, score
from net2net.report import svg, table

# The part of the full-size network's FLOPs in which a grown one should reach its score.
GOAL = 0.6
_TICKS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
_FIXED, _GROWN = "#009e73", "#0072b2"


@dataclass(frozen=True)
class FrontierReport:
    """An experiment's findings, for readers."""

    found: Frontier

    def text(self) -> str:
        """The table and the sentences, for a terminal."""
        return "\n".join([table(HEADERS, rows(self.found)), "", *(f"- {line}" for line in sentences(self.found))])

    def as_json(self) -> dict[str, Any]:
        """All numbers."""
        found = self.found
        return {
            "experiment": found.late.name, "title": found.late.title, "data": found.data, "steps": found.steps,
            "seeds": list(found.seeds), "frontier": list(found.corners), "missing": list(found.missing),
            "findings": list(sentences(found)), "courses": [_plain(place) for place in found.places],
        }  # fmt: skip


HEADERS = (
    "network", "rate", "seeds", "FLOPs", "time", "final loss", "less the full-size network's", "less the frontier's",
)  # fmt: skip


def rows(found: Frontier) -> list[list[str]]:
    """A row for each course, by FLOPs; the corners of the frontier are marked."""
    result = []
    for place in found.places:
        label = place.course.label + (" *" if place.course.key in found.corners else "")
        result.append(
            [label, f"{place.rate:g}", str(place.seeds), f"{place.flops:.2f}", f"{place.seconds:.2f}"]
            + [score(place.score, "loss"), _difference(place.behind_full), _difference(place.above)]
        )
    return result


def sentences(found: Frontier) -> Iterator[str]:
    """Whether the full size pays at all, and each goal: met or missed."""
    full, grown = found.full, [place for place in found.places if place.above is not None]
    if full is None or not grown:
        yield "There are not enough runs to say anything yet."
        return
    rivals = [
        p for p in found.places if not p.grown and p is not full and p.flops <= 1.1 and p.score.mean <= full.score.mean
    ]
    if rivals:
        best = min(rivals, key=lambda p: p.score.mean)
        yield (
            f"The full size doesn't pay here: {best.course.label} end at {score(best.score, 'loss')} for "
            f"{best.flops:.2f} of its FLOPs, and it at {score(full.score, 'loss')}. What growing saves against it is "
            "worth nothing."
        )
    else:
        yield f"The full-size network is the best of one size for its FLOPs: {score(full.score, 'loss')}."
    cheap = [p for p in grown if p.flops <= GOAL and p.behind_full is not None]
    if cheap:
        best = min(cheap, key=lambda p: p.score.mean)
        yield (
            f"Against the full-size network, its loss in at most {GOAL:g} of its FLOPs: {_goal(best.behind_full)}. "
            f"The best is {best.course.label}: {_difference(best.behind_full)} for {best.flops:.2f}."
        )
    best = min(grown, key=lambda p: p.above.mean if p.above else math.inf)
    yield (
        f"Against the frontier at equal FLOPs, below it: {_goal(best.above)}. The nearest is {best.course.label}: "
        f"{_difference(best.above)} at {best.flops:.2f}."
    )
    if found.missing:
        yield f"Left out: {'; '.join(found.missing)}."


def markdown(found: Frontier) -> str:
    """The table and the sentences, for a document."""
    lines = [f"| {' | '.join(HEADERS)} |", f"|{' --- |' * len(HEADERS)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join([*lines, "", *(f"- {line}" for line in sentences(found))]) + "\n"


def figure(found: Frontier) -> Any:
    """Final losses against FLOPs: the frontier of networks of one size, and what grew."""
    drawn = new_figure(8.4, 4.8)
    panel = drawn.subplots()
    dress(panel, "loss")
    corners = [place for key in found.corners for place in found.places if place.course.key == key]
    panel.plot(*_points(corners), color=_FIXED, linewidth=1.4, label="frontier of one size")
    for grown, colour, marker, label in ((False, _FIXED, "s", "of one size"), (True, _GROWN, "o", "grown")):
        places = [place for place in found.places if place.grown == grown]
        halves = [0.0 if math.isnan(place.score.half) else place.score.half for place in places]
        panel.errorbar(
            *_points(places), yerr=halves, color=colour, marker=marker, linestyle="", elinewidth=0.8, label=label
        )
        for place in places:
            label, spot = place.course.label.replace("->", "\N{RIGHTWARDS ARROW}"), (place.flops, place.score.mean)
            below = (4, -9) if grown else (4, 4)  # a grown network and one of a size often lie side by side
            panel.annotate(label, spot, fontsize=7, color=INK, xytext=below, textcoords="offset points")
    panel.set_xscale("log")
    panel.set_xticks([tick for tick in _TICKS if tick > 0.8 * min((p.flops for p in found.places), default=1.0)])
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.minorticks_off()
    panel.set_xlabel("FLOPs of the whole run, relative to the full-size network")
    panel.set_ylabel("final loss, nats")
    panel.legend(frameon=False, fontsize=9)
    return drawn


def write_frontier(found: Frontier, folder: Path) -> FrontierReport:
    """Write table.md, summary.json and frontier.svg into the folder.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("reports need matplotlib: install net2net[experiments].") from error
    report = FrontierReport(found)
    (folder / "table.md").write_text(markdown(found))
    (folder / "summary.json").write_text(json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n")
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"net2net {found.late.name}"}):
        (folder / "frontier.svg").write_text(svg(figure(found), f"Final losses against FLOPs: {found.late.title}"))
    return report


def _points(places: Sequence[Place]) -> tuple[list[float], list[float]]:
    return [place.flops for place in places], [place.score.mean for place in places]


def _difference(value: Interval | None) -> str:
    if value is None:
        return NONE
    half = "" if math.isnan(value.half) else f" ± {value.half:.3f}"
    return f"{value.mean:+.3f}{half}".replace("-", "\N{MINUS SIGN}")


def _goal(difference: Interval | None) -> str:
    """In words; a single seed meets nothing."""
    if difference is None or math.isnan(difference.mean) or difference.mean > 0:
        return "missed"
    if math.isnan(difference.half):
        return "met by one seed, which says little"
    return "met, beyond the interval" if difference.sign < 0 else "met on average, within the interval"


def _plain(place: Place) -> dict[str, Any]:
    def bounds(value: Interval | None) -> list[float | None] | None:
        return None if value is None else [v if math.isfinite(v) else None for v in (value.mean, value.half)]

    return {
        "course": place.course.key, "label": place.course.label, "rate": place.rate,
        "rates": {f"{rate:g}": loss for rate, loss in place.rates.items()}, "seeds": place.seeds, "flops": place.flops,
        "score": bounds(place.score), "behind_full": bounds(place.behind_full), "above_frontier": bounds(place.above),
        "seconds": place.seconds, "wall": place.wall, "growing": place.growing, "jump": place.jump,
    }  # fmt: skip
