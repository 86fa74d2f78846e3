"""The proof: teacher and student on the same inputs, in float64 where it can be had."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net.capture import (
    Example,
    Inputs,
    Methods,
    examples_of,
    odd_weight,
    require_inputs,
    require_module,
    silent,
    uncompiled,
    unobserved,
)
from net2net.errors import GrowthError, VerificationError
from net2net.plan import Preservation
from net2net.pretrained import is_pretrained
from net2net.proof._departure import first_departure
from net2net.proof._inputs import Arguments, move, variants
from net2net.proof._interface import SAME, Interface
from net2net.proof._liveness import Call, liveness
from net2net.proof._measure import MODES, Measured, measure
from net2net.proof._models import copy_in, device_of, dtype_of, with_zeros_drawn
from net2net.proof._new_units import NewUnits
from net2net.proof._run import ForwardError
from net2net.proof._verification import Verification, _worst

# Above this many bytes for the two models together, they are compared in their own dtype.
_FLOAT64_BYTES = 6 * 2**30


# Liveness runs backward passes; above this many parameters it is left out.
_LIVENESS_PARAMETERS = 20_000_000


# Random inputs for units that those given don't reach: a few rows may all be on the dark side of a ReLU. So many, and
# for models above a million parameters.
_FURTHER, _FURTHER_LARGE = 48, 8


_TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}


@unobserved
def verify(teacher: nn.Module, student: nn.Module, inputs: Inputs, *, methods: Methods = ()) -> Verification:
    """Compare two networks on the same inputs, and on random inputs like them.

    Runs copies in float64 (in the models' own dtype where that doesn't fit or run), in eval and in train mode, with
    dropout off and all that is drawn at random fixed. Neither model is changed.

    Args:
        teacher, student: two networks with the same inputs and outputs: each output of the student has the shape of
            the teacher's.
        inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a list of several of these.
        methods: names of methods to compare beside `forward`, or a mapping from names to inputs of their own.

    Returns:
        The errors per output, relative to the output's largest entry, and the first module that diverges. Weights that
        hold NaN or infinity don't pass.

    Raises:
        VerificationError: the student doesn't run where the teacher does.

    Example:
        >>> net = torch.nn.Linear(3, 2)
        >>> verify(net, net, torch.ones(1, 3)).passed
        True
    """
    for model, what in ((teacher, "the teacher"), (student, "the student")):
        require_module(model, what)
        require_inputs(model, inputs)
    found = compare_models(teacher, student, examples_of(inputs, methods, teacher))
    odd = odd_weight(teacher) or odd_weight(student)
    if odd is None:
        return found
    note = f"'{odd[0]}' holds {odd[1]}: there is no function to compare."
    return replace(found, errors=dict.fromkeys(found.errors, math.nan), notes=(*found.notes, note))


@silent()
@uncompiled()
def compare_models(
    teacher: nn.Module,
    student: nn.Module,
    inputs: Inputs,
    *,
    preserves: Preservation = "exact",
    float32_inside: bool | None = None,
    sources: Mapping[str, tuple[Any, ...]] | None = None,
    units: Sequence[NewUnits] | None = None,
    moved: Mapping[str, str] | None = None,
    approximate: tuple[str, ...] = (),
    regrow: Callable[[nn.Module], nn.Module] | None = None,
    interface: Interface = SAME,
) -> Verification:
    """`verify`, with what a growth knows: its promise, where copied units stand, where new units do, where modules have
    moved to, which modes are only close, how another teacher grows the same way, and which inputs and outputs the
    student has otherwise."""
    stored = dtype_of(teacher)
    tolerance = _TOLERANCES.get(stored, 1e-5)
    if float32_inside or (float32_inside is None and any(map(is_pretrained, teacher.modules()))):
        tolerance = max(tolerance, 1e-5)
    examples = [e for e in examples_of(inputs) if not e.train]
    fits = _bytes_in_float64(teacher) + _bytes_in_float64(student) <= _FLOAT64_BYTES
    for working in (torch.float64, stored) if fits and stored != torch.float64 else (stored,):
        try:
            a, b = copy_in(teacher, working), copy_in(student, working)
            found = measure(a, b, examples, working, only_given=not fits, interface=interface)
            if preserves == "exact" and fits:
                _compare_with_zeros_drawn(found, teacher, examples, working, regrow, interface)
            break
        except (ForwardError, VerificationError) as error:  # a cast to one dtype is written into its forward
            if working == stored:
                raise (
                    error
                    if isinstance(error, GrowthError)
                    else VerificationError(f"the teacher doesn't run on the inputs given: {error}")
                ) from error
    departs = None
    result = Verification(found.errors, tolerance, approximate=approximate)
    if not result.passed and preserves == "exact":
        example, given = found.calls[_worst(result).rpartition("/")[0]]
        mode = _worst(result).partition("/")[0]
        a, b = copy_in(teacher, working), copy_in(student, working)
        theirs = interface.of_student(a, example.method, given)
        departs = first_departure(a, b, example.method, (given, theirs), mode, tolerance, sources or {}, moved or {})
    result = replace(result, preserves=preserves, dtype=str(working).removeprefix("torch."), departs=departs)
    count = sum(p.numel() for p in student.parameters())
    if units is not None and count <= _LIVENESS_PARAMETERS:
        moved_to = [(e, move(e, working, device_of(student))) for e in examples]
        given_to = [(e, interface.of_student(a, e.method, given)) for e, given in moved_to]
        try:
            alive = liveness(b, _calls(given_to, _FURTHER if count <= 1_000_000 else _FURTHER_LARGE), units)
            result = replace(
                result, dead=alive.dead, stuck=alive.stuck, idle=alive.idle, loudness=alive.loudness or None
            )
        except Exception as error:  # an operation with no derivative, or whatever a forward raises
            found.notes.append(f"liveness not checked: {(str(error).splitlines() or [''])[0]}")
    return replace(result, notes=tuple(dict.fromkeys(found.notes)))


def _calls(examples: list[tuple[Example, Arguments]], further: int) -> Iterator[Call]:
    """What liveness is measured on: the inputs given, in both modes, then random ones like them."""
    for mode in MODES:
        for example, given in examples:
            yield Call(example.method, given, mode == "train")
    for example, given in examples:
        for _, drawn in itertools.islice(variants(given), 1, 1 + further):
            yield Call(example.method, drawn)


def _compare_with_zeros_drawn(
    found: Measured,
    teacher: nn.Module,
    examples: list[Example],
    dtype: torch.dtype,
    regrow: Callable[[nn.Module], nn.Module] | None,
    interface: Interface,
) -> None:
    """Compare once more with random numbers for weights that are 0 throughout: they hide what stands before them."""
    constant = found.constant
    other = with_zeros_drawn(teacher, every=bool(constant)) if regrow is not None else None
    if other is not None and regrow is not None:
        pair = copy_in(other, dtype), copy_in(regrow(other), dtype)
        drawn = measure(*pair, examples, dtype, only_given=False, interface=interface)
        for key, error in drawn.errors.items():
            if key.startswith("eval/"):
                mode, label, name = key.split("/", 2)
                found.errors[f"{mode}/{label} with zero weights drawn/{name}"] = error
                found.calls[f"{mode}/{label} with zero weights drawn"] = drawn.calls[f"{mode}/{label}"]
        constant = [name for name in constant if name in drawn.constant]
    found.notes += [f"output '{name}' is constant: nothing was compared in it" for name in constant]


def _bytes_in_float64(model: nn.Module) -> int:
    return 8 * sum(p.numel() for p in model.parameters())
