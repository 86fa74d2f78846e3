"""Width in the middle of the stable phase, against networks of one width: what is run, in which order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from net2net.experiments._courses import Course, Stage
from net2net.experiments._late import Late, Scale, late

_MIDDLE = 0.5
# How new units begin, and what the optimizer goes on with: name, label, arguments of `grow`, state, ramp of the rate.
_WAYS: tuple[tuple[str, str, Mapping[str, Any], str, bool], ...] = (
    ("silent", "silent new units (the default)", {}, "carried", True),
    ("copies", "copies with uneven shares", {"how": "split"}, "carried", True),
    ("copies-reset", "copies, state of the second ones at zero", {"how": "split"}, "new reset", True),
    ("random", "random units at the old ones' scale", {"how": "random_pad"}, "carried", True),
    ("silent-reset", "silent, state of new units at zero", {}, "new reset", True),
    ("copies-all", "copies, whole state at zero", {"how": "split"}, "reset", True),
    ("silent-steady", "silent, the rate not raised anew", {}, "carried", False),
    ("copies-steady", "copies, the rate not raised anew", {"how": "split"}, "carried", False),
)


def late_width(scale: Scale) -> Late:
    """Twice as wide after half of the steps, in several ways; four times; width together with depth.

    The networks have half of the scale's blocks.

    Source: the reset of new entries' state and the second rise of the rate: SPARKLING, arXiv 2602.02472.
    """
    # Heads are half as wide as elsewhere: a single one has no axis of heads that could grow.
    shape = replace(scale.shape, layers=max(2, scale.shape.layers // 2), head=scale.shape.head // 2)
    full, half, layers = shape.width, shape.width // 2, shape.layers
    widths = [w for w in (full // 4, half, 3 * full // 4, full) if w % shape.head == 0 and w >= 2 * shape.head]

    def fixed(width: int, length: float = 1.0) -> Course:
        name = f"fixed-w{width}" + ("" if length == 1 else f"-x{length:g}")
        often = "" if length == 1 else f", {length:g} times the steps"
        return Course(name, f"{width} channels{often}", replace(shape, width=width), (), f"fixed-w{width}", length)

    def wider(name: str, label: str, small: Any, growth: Mapping[str, Any], state: str, again: bool) -> Course:
        stage = Stage(_MIDDLE, growth, state, again)
        return Course(name, label, small, (stage,), f"fixed-w{full}")

    narrow = replace(shape, width=half)
    twice = [
        wider(f"twice-{name}", f"{half} -> {full} channels: {label}", narrow, {"sizes": 2.0, **growth}, state, again)
        for name, label, growth, state, again in _WAYS
    ]
    more = [
        wider(
            "both",
            f"{half} -> {full} channels and {layers // 2} -> {layers} blocks",
            replace(narrow, layers=layers // 2),
            {"sizes": 2.0, "where": {"blocks": layers - layers // 2}},
            "carried",
            True,
        )
    ]
    if full // 4 in widths:
        small = replace(shape, width=full // 4)
        more.append(
            wider("four-times", f"{full // 4} -> {full} channels: silent", small, {"sizes": 4.0}, "carried", True)
        )
    courses = (twice[0], *map(fixed, widths), *twice[1:], fixed(full, 0.625), *more)
    title = f"Late width: a Llama of bytes, from {half} channels to {full}"
    return late("late-width", title, scale, f"fixed-w{full}", courses)
