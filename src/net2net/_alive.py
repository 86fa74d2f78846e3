"""New units that would never learn: another way to make them, or a warning."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

from net2net.axes import atoms
from net2net.dimensions import Analysis
from net2net.errors import GrowthError, Net2NetWarning
from net2net.growth import Growth
from net2net.plan import WidthOptions

# Of networks that train on calmly this is 0.4 to 3; of a deep one without norms whose new rows aren't scaled, 100.
_LOUD = 10.0


def learning(grow: Callable[[WidthOptions], Growth], options: WidthOptions, analysis: Analysis) -> Growth:
    """The growth whose new units learn: with zeros on the way out, else on the way in, else copies.

    Args:
        grow: carries out the growth with these options.
        options: the user's; a `how` that was asked for is kept.
        analysis: of the teacher.

    Warns:
        Net2NetWarning: some new entries never get a gradient, or far larger ones than the old entries.
    """
    growth = grow(options)
    for how in ("zero_in", "split") if options.how is None else ():
        stuck = _stuck(growth, analysis)
        if not stuck:
            break
        ways = {**options.ways, **dict.fromkeys(stuck, how)}
        try:
            other = grow(replace(options, ways=ways))
        except GrowthError:
            continue
        if len(other.verification.dead or ()) < len(growth.verification.dead or ()):
            growth, options = other, replace(options, ways=ways)
    made = any(w.how != "split" for w in growth.plan.widenings)  # copies learn where what they copy does
    if growth.verification.dead and (made or _frozen(growth)):
        warnings.warn(
            f"no gradient reaches the new entries of {', '.join(growth.verification.dead)} on the example inputs: "
            f"these new units don't learn. {_reason(growth)}",
            Net2NetWarning,
            stacklevel=3,
        )
    if (growth.verification.loudness or 0.0) > _LOUD:
        warnings.warn(
            f"new entries get gradients {growth.verification.loudness:.0f} times as large as the old ones in their "
            "tensor: the first steps may be rough. Use a longer ramp, or how='split'.",
            Net2NetWarning,
            stacklevel=3,
        )
    return growth


def _stuck(growth: Growth, analysis: Analysis) -> list[str]:
    """The dimensions with new units that are dead, though some weight of theirs could train."""
    inference = analysis.sites.inference
    trained = {name for name, p in growth.student.named_parameters() if p.requires_grad}
    dead = set(growth.verification.dead or ()) & trained & inference.graph.state.keys()
    found = []
    for widening in growth.plan.widenings:
        atom = analysis.atoms[widening.dimension]
        if widening.how != "split" and any(
            atom in atoms(term) for name in dead for term in inference.of(inference.graph.state[name])
        ):
            found.append(widening.dimension)
    return found


def _frozen(growth: Growth) -> bool:
    """Whether all that is dead is frozen."""
    parameters = dict(growth.student.named_parameters())
    return all(name in parameters and not parameters[name].requires_grad for name in growth.verification.dead or ())


def _reason(growth: Growth) -> str:
    if _frozen(growth):
        return "They are in frozen layers. Unfreeze these, or don't grow them."
    return "Where the teacher's own units get none either (saturated, detached), theirs can't; else try another how=."
