"""Two drawings as SVG: score against operations, and who grew from whom."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from net2net.exploration._tried import Tried, grown_in_words

_INK, _SOFT, _ACCENT, _FRONT = "#1f2933", "#9aa5b1", "#0067b1", "#c2410c"


def scatter(trials: Sequence[Tried], front: Sequence[Tried], best: int) -> str:
    """The score of each trained network against its operations for a sample, on a log scale; the front as a line."""
    width, height, left, bottom = 900, 360, 70, 46
    points = [(t, t.cost.flops, t.score) for t in trials if t.cost is not None and t.score is not None]
    xs, ys = [math.log10(max(f, 1.0)) for _, f, _ in points], [s for _, _, s in points]
    place_x, place_y = _scale(xs, left, width - 20), _scale(ys, height - bottom, 16)

    def at(t: Tried) -> tuple[float, float]:
        flops = t.cost.flops if t.cost else 1.0
        return place_x(math.log10(max(flops, 1.0))), place_y(t.score or 0.0)

    parts = [_text(left - 8, place_y(y) + 4, f"{y:.4g}", "end") for y in (min(ys), max(ys))]
    parts += [_text(place_x(x), height - bottom + 20, f"{10**x:.3g}", "middle") for x in (min(xs), max(xs))]
    parts += [_text((left + width) / 2, height - 6, "FLOPs for a sample, log scale", "middle")]
    parts += [_line([(left, 10), (left, height - bottom), (width - 10, height - bottom)], _SOFT, 1)]
    parts += [_line([at(t) for t in front], _FRONT, 1.5)] if len(front) > 1 else []
    marked = {t.number for t in front}
    for t, _, score in points:
        colour = _FRONT if t.number in marked else _ACCENT
        parts.append(_dot(*at(t), 7 if t.number == best else 4.5, colour, f"trial {t.number}: {score:.5g}"))
    return _svg(width, height, parts, "Scores of the trained networks against their operations for a sample")


def tree(trials: Sequence[Tried], best: Sequence[int]) -> str:
    """Who grew from whom: the teacher on the left, a column for each generation; the best one's ancestors in colour."""
    shown = {t.number: t for t in trials if t.outcome in ("trained", "pruned", "running")}
    children: dict[int | None, list[int]] = {}
    for t in shown.values():
        children.setdefault(t.parent if t.parent in shown else None, []).append(t.number)
    places: dict[int | None, tuple[float, float]] = {}
    rows = _lay_out(None, children, places, 0, 0)
    step_x, step_y, left, top = 175, 34, 60, 24
    at = {n: (left + x * step_x, top + y * step_y) for n, (x, y) in places.items()}
    line = {None, *best}
    parts: list[str] = []
    for parent, numbers in children.items():
        for n in numbers:
            on = n in line and parent in line
            parts.append(_curve(at[parent], at[n], _FRONT if on else _SOFT))
    parts += [_dot(*at[None], 7, _INK, "the teacher"), _text(at[None][0] - 12, at[None][1] + 4, "teacher", "end")]
    for n, t in shown.items():
        x, y = at[n]
        score = "" if t.score is None else f"{t.score:.4g}"
        colour = _FRONT if n in line else _ACCENT if t.score is not None else _SOFT
        parts.append(_dot(x, y, 5, colour, f"trial {n}, {t.outcome}: {grown_in_words(t)}"))
        parts.append(_text(x + 9, y - 4, f"{n}: {score or t.outcome}", "start"))
        parts.append(_text(x + 9, y + 9, _short(grown_in_words(t)), "start", 9.5))
    width = left + (max(x for x, _ in places.values()) + 1) * step_x + 20
    return _svg(round(width), round(top * 2 + rows * step_y), parts, "The genealogy of the trials", natural=True)


def _lay_out(
    one: int | None, children: Mapping[int | None, list[int]], places: dict[int | None, tuple[float, float]],
    column: int, row: float,
) -> float:  # fmt: skip
    """Put a trial and all below it into places; the first row that is free afterwards."""
    first = row
    for child in children.get(one, ()):
        row = _lay_out(child, children, places, column + 1, row)
    row = max(row, first + 1)
    places[one] = column, (first + row - 1) / 2
    return row


def _scale(values: Sequence[float], start: float, end: float) -> _Scale:
    return _Scale(min(values, default=0.0), max(values, default=1.0), start, end)


class _Scale:
    """A linear scale; one value alone is put in the middle."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + share * (self.end - self.start)


def _short(text: str) -> str:
    return text if len(text) < 30 else f"{text[:27]}..."


def _dot(x: float, y: float, radius: float, colour: str, title: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{colour}"><title>{escape(title)}</title></circle>'


def _text(x: float, y: float, text: str, anchor: str, size: float = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{_INK}">{escape(text)}</text>'
    )


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> str:
    joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{joined}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def _curve(start: tuple[float, float], end: tuple[float, float], colour: str) -> str:
    (a, b), (c, d) = start, end
    middle = (a + c) / 2
    path = f"M{a:.1f},{b:.1f} C{middle:.1f},{b:.1f} {middle:.1f},{d:.1f} {c:.1f},{d:.1f}"
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _svg(width: int, height: int, parts: Sequence[str], label: str, *, natural: bool = False) -> str:
    size = f' style="width:{width}px;max-width:none"' if natural else ""
    return (
        f'<svg role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}"{size} '
        f'font-family="system-ui, sans-serif" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
