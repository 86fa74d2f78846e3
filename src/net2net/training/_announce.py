"""A growth inside a run is said aloud, and so is one that won't come."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from torch import nn

from net2net.errors import warn
from net2net.growth import Growth

_LOGGER = logging.getLogger("net2net")


def announce(step: int, growth: Growth) -> str:
    """Log a growth in one line, which is given back: what grew, the promise, and how many parameters there are now."""
    steps = growth.plan.steps
    grown = [f"{w.dimension} {w.before} -> {w.after}" for p in steps for w in p.widenings]
    grown += [f"{d.place} {d.before} -> {d.after} {d.kind}" for p in steps for d in p.deepenings]
    others = (c for p in steps for c in p.changes if c not in (*p.widenings, *p.deepenings))
    grown += [f"{row.what} {row.before} -> {row.after} {row.how}" for row in (change.row() for change in others)]
    shown = ", ".join(grown[:3]) + (f" and {len(grown) - 3} more" if len(grown) > 3 else "")
    promise = "exact" if growth.verification.preserves == "exact" else f"preserves: {growth.verification.preserves}"
    before, after = (count(model) for model in (growth.teacher, growth.student))
    text = f"grown after step {step}: {shown} ({promise}); {before:,} -> {after:,} parameters"
    _LOGGER.info(text)
    return text


def count(model: nn.Module) -> int:
    """How many parameters a network has."""
    return sum(p.numel() for p in model.parameters())


def warn_of_late(steps: Iterable[int], last: int | None) -> None:
    """Warn of growths after the last step of a run."""
    late = sorted(step for step in steps if last is not None and last >= 0 and step > last)
    if late:
        warn(f"the run ends after step {last}: the growth after step {', '.join(map(str, late))} won't happen.")
