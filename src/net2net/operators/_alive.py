"""New units that would never learn: another way to make them, or a refusal, or a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from net2net.analysis import Analysis
from net2net.errors import FixedDimensionError, GrowthError, warn
from net2net.growth import Growth
from net2net.width import WidthOptions, check_growth

# Of networks that train on calmly this is 0.4 to 3; of a deep one without norms whose new rows aren't scaled, 100.
_LOUD = 10.0
_ELSEWHERE = "Put the new layers in another place, or, of blocks, have their weights drawn: init='zero-random'."
_FROZEN = "They are in frozen layers: unfreeze these, or don't grow them."
_OTHER_WAYS = ("zero_in", "split")

Sizes = Mapping[str, int]


def learning(
    growth: Growth,
    again: Callable[[Sizes, WidthOptions], Growth],
    options: WidthOptions,
    analysis: Analysis,
    every: bool = False,
) -> Growth:
    """The growth whose new units learn: with zeros on the way out, else on the way in, else copies.

    Only dimensions whose new units are dead are made in another way.

    Args:
        growth: with these options.
        again: carries it out with other options, or for fewer dimensions.
        options: the user's; a `how` that was asked for is kept.
        analysis: of the teacher.
        every: whether a dimension that can't learn is left out; else it is refused.

    Raises:
        FixedDimensionError: no way of making the new units lets them learn, though the teacher's own do.

    Warns:
        Net2NetWarning: some new entries never get a gradient, or far larger ones than the old entries.
    """
    sizes = {w.dimension: w.after for w in growth.plan.widenings}
    left_out = growth.plan.left_out
    for how in _OTHER_WAYS if options.how is None else ():
        trial = replace(options, ways={**options.ways, **dict.fromkeys(growth.verification.stuck, how)})
        able = [name for name in growth.verification.stuck if _can_grow(analysis, name, sizes[name], trial)]
        if not able:
            continue
        trial = replace(options, ways={**options.ways, **dict.fromkeys(able, how)})
        try:
            other = again(sizes, trial)
        except GrowthError:
            continue
        if len(other.verification.stuck) < len(growth.verification.stuck):
            growth, options = other, trial
    growth = replace(growth, plan=replace(growth.plan, left_out=left_out))
    copies = {w.dimension for w in growth.plan.widenings if w.units.has_copies}  # these learn once they differ
    stuck = [name for name in growth.verification.stuck if name not in copies]
    if options.how is None and stuck:
        refusal = _refusal(growth)
        rest = {name: size for name, size in sizes.items() if name not in stuck}
        if not every or not rest:
            raise refusal
        try:
            growth = again(rest, options)
        except GrowthError:
            raise refusal from None
        growth = replace(growth, plan=replace(growth.plan, left_out={**left_out, **dict.fromkeys(stuck, str(refusal))}))
        return learning(growth, again, options, analysis, every)
    return growth


def told(growth: Growth) -> Growth:
    """The growth with what doesn't learn in the notes of its plan; that and what is too loud is warned of.

    Warns:
        Net2NetWarning: some new entries never get a gradient, or far larger ones than the old entries.
    """
    found, notes = growth.verification, []
    if found.dead:
        notes.append(
            f"no gradient reaches the new entries of {_listed(found.dead)} on the example inputs: these new units "
            f"don't learn. {_advice(growth)}"
        )
    if found.idle:
        notes.append(
            f"no gradient reaches {_listed(found.idle)} on the example inputs, the teacher's own entries neither "
            "(saturated, detached, or not read by these inputs): the new ones don't learn either."
        )
    if found.dead is None and not any(p.requires_grad for p in growth.student.parameters()):
        notes.append(
            "all parameters are frozen, the new ones too: nothing learns, and whether it could was not measured."
        )
    for note in notes:
        warn(note)
    other_way = ", or how='split'" if growth.plan.widenings else ""
    if (found.loudness or 0.0) > _LOUD:
        warn(
            f"new entries get gradients {found.loudness:.0f} times as large as the old ones in their "
            f"tensor: the first steps may be rough. Use a longer ramp{other_way}."
        )
    return replace(growth, plan=replace(growth.plan, notes=(*growth.plan.notes, *notes)))


def _advice(growth: Growth) -> str:
    stuck, dead = growth.verification.stuck, growth.verification.dead or ()
    trained = {name for name, p in growth.student.named_parameters(remove_duplicate=False) if p.requires_grad}
    if trained.isdisjoint(dead):
        return _FROZEN
    if not stuck:
        return _ELSEWHERE
    if not growth.plan.widenings:
        return "Give example inputs that reach them, to see whether others do."
    if all(w.units.has_copies for w in growth.plan.widenings if w.dimension in stuck):
        return "They are copies, and tie with what they copy (in a maximum, say): they learn once they differ."
    return "Try another how=."


def _can_grow(analysis: Analysis, name: str, size: int, options: WidthOptions) -> bool:
    try:
        check_growth(analysis.sites, name, analysis.atoms[name], size, options)
    except GrowthError:
        return False
    return True


def _refusal(growth: Growth) -> FixedDimensionError:
    found = growth.verification
    return FixedDimensionError(
        f"{_listed(found.stuck)} can't grow by units that learn: no gradient reaches the new entries of "
        f"{_listed(found.dead or ())} on the example inputs, with zeros on the way out or in, and copies aren't "
        "possible or don't learn either. Leave it as it is, or name a way with how= to have it so."
    )


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (", ..." if len(names) > 5 else "")
