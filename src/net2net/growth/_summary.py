"""A growth in three lines: preserved, alive, symmetry."""

from __future__ import annotations

import numpy as np
from torch import nn

from net2net.plan import AxisMap, Plan, weakest
from net2net.proof import Verification


def in_words(plan: Plan, found: Verification, student: nn.Module) -> str:
    """Is the function preserved, do the new weights learn, do copies separate?"""
    reason = f": {_why(plan)}" if found.preserves != "exact" else ""
    modes = f" in {' and '.join(found.exact_in)} mode" if found.exact_in else ""
    preserved = f"{found.preserves}{modes}{reason} (relative error {found.max_relative_error:.1e} in {found.dtype})"
    if found.approximate:
        preserved += f"; {', '.join(found.approximate)} mode as close as the statistics of a new BatchNorm"
    if found.notes:
        preserved += "; see verification.notes"
    alive = _alive(plan, found, student)
    if found.loudness is not None:
        alive += f"; the largest gradient of new entries is {found.loudness:.2g} times that of old ones"
    rows = [["preserved", preserved], ["alive", alive], ["symmetry", _symmetry(plan)]]
    return "\n".join(f"{name:<10} {text}" for name, text in rows)


def _alive(plan: Plan, found: Verification, student: nn.Module) -> str:
    """Which new units get a gradient; frozen ones are named."""
    still = _frozen(plan, student)
    if found.dead is None:
        return "not measured"
    silent = [f"the new entries of {', '.join(found.dead)}"] if found.dead else []
    silent += [f"{', '.join(found.idle)}, the teacher's own entries neither"] if found.idle else []
    if silent:
        alive = f"no, no gradient reaches {'; nor '.join(silent)}"
    else:
        alive = f"yes, the new units of every grown tensor {'that trains ' if still else ''}get a gradient"
    return alive + (f"; frozen, so their new entries stay as they are: {', '.join(still)}" if still else "")


def _frozen(plan: Plan, student: nn.Module) -> list[str]:
    """The grown tensors that don't train."""
    parameters = dict(student.named_parameters())
    grown = {name for step in plan.steps for name in step.tensors}
    return [name for name, p in parameters.items() if name in grown and not p.requires_grad]


def _why(plan: Plan) -> str:
    """Why a growth isn't exact: because of its first change that isn't."""
    changes = [c for step in plan.steps for c in step.changes]
    return next(c.why() for c in changes if c.preserves == weakest(changes))


def _symmetry(plan: Plan) -> str:
    told = [text for step in plan.steps for c in step.changes if (text := c.symmetry())]
    if told:
        return "; ".join(dict.fromkeys(told))
    copied = [w.dimension for step in plan.steps for w in step.widenings if w.units.has_copies]
    if not copied:
        return "no copies"
    tensors = [tensor for step in plan.steps for tensor in step.tensors.values()]
    broken = any(t.noise or any(m is not None and _uneven(m) for m in t.axes) for t in tensors)
    names = ", ".join(copied[:3]) + (", ..." if len(copied) > 3 else "")
    if broken:
        return f"copies in {names}, with different outgoing weights: training separates them"
    return f"copies in {names}, with equal outgoing weights: they stay twins unless dropout separates them"


def _uneven(m: AxisMap) -> bool:
    """Whether copies of a place have different shares."""
    if m.factor is None:
        return False
    places = np.where(m.source < 0, m.before, m.source)
    low, high = (np.full(places.max() + 1, value) for value in (np.inf, -np.inf))
    np.minimum.at(low, places, m.factor)
    np.maximum.at(high, places, m.factor)
    return bool((high - low > 1e-9).any())
