"""The proof of a growth, whatever made it."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from net2net.capture import Inputs, examples_of
from net2net.growth._carry_out import carried_out
from net2net.growth._known import Known
from net2net.growth._train_mode import differs_in_train_mode, rates_off, refuse_by_train_mode
from net2net.plan import Plan
from net2net.proof import Promise, Verification, compare_models, require


def prove(teacher: nn.Module, student: nn.Module, plan: Plan, inputs: Inputs, known: Known) -> Verification:
    """Compare a student with its teacher, with all that is known of its growth.

    Raises:
        VerificationError: the plan promises an exact student, and this one isn't.
        FixedDimensionError: it is deeper, and diverges by what runs in train mode only.
    """
    verification = _compared(teacher, student, plan, inputs, known)
    if any(step.deepenings for step in plan.steps):
        if differs_in_train_mode(verification):
            verification = _without_rates(teacher, student, plan, inputs, known) or verification
        refuse_by_train_mode(verification, teacher, examples_of(inputs))
    require(verification)
    dead = verification.dead
    if dead is None:
        return verification
    return replace(verification, dead=tuple(dict.fromkeys((*dead, *known.untrained(student, dead)))))


def _compared(teacher: nn.Module, student: nn.Module, plan: Plan, inputs: Inputs, known: Known) -> Verification:
    promise = Promise(
        plan.preserves,
        _approximate(plan),
        known.float32_inside,
        known.sources,
        known.moved,
        known.units,
        regrow=lambda other: carried_out(plan, other, student),
        interface=known.interface,
    )
    return compare_models(teacher, student, inputs, promise)


def _without_rates(
    teacher: nn.Module, student: nn.Module, plan: Plan, inputs: Inputs, known: Known
) -> Verification | None:
    """The comparison with all drop rates at 0; None if it fails too."""
    first, second = rates_off(teacher), rates_off(student)
    if first is None and second is None:
        return None
    found = _compared(first or teacher, second or student, plan, inputs, known)
    note = "the class gives its layers other drop rates at another depth: train mode is compared with all of them at 0"
    return replace(found, notes=(*found.notes, note)) if found.passed else None


def _approximate(plan: Plan) -> tuple[str, ...]:
    """The modes in which a plan is close, not exact: train mode with a BatchNorm that is new."""
    tensors = [item for step in plan.steps for item in step.tensors.items()]
    return ("train",) if any(name.endswith("running_mean") and t.fill == "values" for name, t in tensors) else ()
