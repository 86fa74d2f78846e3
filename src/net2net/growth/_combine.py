"""Two growths, one after the other, as one."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from net2net.capture import Inputs
from net2net.growth._carry_out import carried_out
from net2net.growth._growth import Growth
from net2net.proof import compare_models, require


def one_growth(teacher: nn.Module, first: Growth, second: Growth, inputs: Inputs) -> Growth:
    """The growth from the first's teacher to the second's student: one plan, proved as a whole."""
    plan = second.plan.after(first.plan)
    one, two = first.verification, second.verification
    approximate = tuple(dict.fromkeys((*one.approximate, *two.approximate)))
    whole = compare_models(
        teacher,
        second.student,
        inputs,
        preserves=plan.preserves,
        float32_inside=max(one.tolerance, two.tolerance) > 1e-10,
        approximate=approximate,
        regrow=lambda other: carried_out(plan, other, second.student),
    )
    require(whole)
    dead = tuple(dict.fromkeys((*(one.dead or ()), *(two.dead or ()))))
    measured = one.dead is not None and two.dead is not None
    whole = replace(
        whole,
        dead=dead if dead or measured else None,
        stuck=two.stuck,
        idle=tuple(dict.fromkeys((*one.idle, *two.idle))),
        loudness=max((f.loudness for f in (one, two) if f.loudness is not None), default=None),
    )
    return Growth(second.student, plan, whole, teacher, inputs)
