"""The proof: teacher and student on the same inputs, in float64 where it can be had."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
from net2net.errors import VerificationError
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
    found = compare_models(teacher, student, examples_of(inputs, methods, teacher), Promise())
    odd = odd_weight(teacher) or odd_weight(student)
    if odd is None:
        return found
    note = f"'{odd[0]}' holds {odd[1]}: there is no function to compare."
    return replace(found, errors=dict.fromkeys(found.errors, math.nan), notes=(*found.notes, note))


@dataclass(frozen=True, eq=False)
class Promise:
    """What is known of a growth before it is measured.

    `preserves` is what it promises, `approximate` are the modes in which it is only close. `float32_inside` says that
    the network casts to float32 whatever its own dtype is; None to go by its classes. `sources` maps a module of the
    student to the old place that each place of its output's axes copies, `moved` a module of the teacher to where it is
    in the student; `units` are the new units, and None measures no liveness. `regrow` grows another teacher the same
    way. `interface` has the inputs and outputs that the student has otherwise.
    """

    preserves: Preservation = "exact"
    approximate: tuple[str, ...] = ()
    float32_inside: bool | None = None
    sources: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    moved: Mapping[str, str] = field(default_factory=dict)
    units: Sequence[NewUnits] | None = None
    regrow: Callable[[nn.Module], nn.Module] | None = None
    interface: Interface = SAME

    def tolerance(self, teacher: nn.Module) -> float:
        """The largest relative error that counts as rounding."""
        by_dtype = _TOLERANCES.get(dtype_of(teacher), 1e-5)
        inside = self.float32_inside
        if inside is None:
            inside = any(map(is_pretrained, teacher.modules()))
        return max(by_dtype, 1e-5) if inside else by_dtype


@silent()
@uncompiled()
def compare_models(teacher: nn.Module, student: nn.Module, inputs: Inputs, promise: Promise) -> Verification:
    """`verify`, with what a growth knows."""
    examples = [e for e in examples_of(inputs) if not e.train]
    found, working = _measured(teacher, student, examples, promise)
    result = Verification(
        found.errors,
        promise.tolerance(teacher),
        promise.preserves,
        str(working).removeprefix("torch."),
        approximate=promise.approximate,
    )
    if not result.passed and promise.preserves == "exact":
        result = replace(result, departs=_departure(teacher, student, found, working, result, promise))
    given = [(e, move(e, working, device_of(student))) for e in examples]
    given_to = [(e, promise.interface.of_student(teacher, e.method, arguments)) for e, arguments in given]
    result = _with_liveness(result, student, given_to, found, working, promise)
    return replace(result, notes=tuple(dict.fromkeys(found.notes)))


def _measured(
    teacher: nn.Module, student: nn.Module, examples: list[Example], promise: Promise
) -> tuple[Measured, torch.dtype]:
    """The errors, in float64 if the models fit and run in it, else in their own dtype; and which that is.

    Raises:
        VerificationError: the student doesn't run where the teacher does, or the teacher doesn't.
    """
    stored = dtype_of(teacher)
    fits = _bytes_in_float64(teacher) + _bytes_in_float64(student) <= _FLOAT64_BYTES

    def measured(dtype: torch.dtype) -> Measured:
        pair = copy_in(teacher, dtype), copy_in(student, dtype)
        found = measure(*pair, examples, dtype, only_given=not fits, interface=promise.interface)
        if promise.preserves == "exact" and fits:
            _compare_with_zeros_drawn(found, teacher, examples, dtype, promise)
        return found

    if fits and stored != torch.float64:
        with contextlib.suppress(ForwardError, VerificationError):  # a cast to one dtype is written into its forward
            return measured(torch.float64), torch.float64
    try:
        return measured(stored), stored
    except ForwardError as error:
        raise VerificationError(f"the teacher doesn't run on the inputs given: {error}") from error


def _departure(
    teacher: nn.Module,
    student: nn.Module,
    found: Measured,
    working: torch.dtype,
    result: Verification,
    promise: Promise,
) -> str | None:
    """The first module that diverges, where the error is largest."""
    worst = _worst(result)
    example, given = found.calls[worst.rpartition("/")[0]]
    a, b = copy_in(teacher, working), copy_in(student, working)
    mode = worst.partition("/")[0]
    both = given, promise.interface.of_student(a, example.method, given)
    return first_departure(a, b, example.method, both, mode, result.tolerance, promise.sources, promise.moved)


def _with_liveness(
    result: Verification,
    student: nn.Module,
    examples: list[tuple[Example, Arguments]],
    found: Measured,
    working: torch.dtype,
    promise: Promise,
) -> Verification:
    """What was measured, with whether the new units learn; the notes say if that couldn't be found out."""
    count = sum(p.numel() for p in student.parameters())
    if promise.units is None or count > _LIVENESS_PARAMETERS:
        return result
    try:
        alive = liveness(copy_in(student, working), _calls(examples), _further_calls(examples), promise.units)
    except Exception as error:  # an operation with no derivative, or whatever a forward raises
        found.notes.append(f"liveness not checked: {(str(error).splitlines() or [''])[0]}")
        return result
    return replace(result, dead=alive.dead, stuck=alive.stuck, idle=alive.idle, loudness=alive.loudness or None)


def _calls(examples: list[tuple[Example, Arguments]]) -> list[Call]:
    """What liveness is measured on: the inputs given, in both modes."""
    return [Call(example.method, given, mode == "train") for mode in MODES for example, given in examples]


def _further_calls(examples: list[tuple[Example, Arguments]]) -> Iterator[Call]:
    """Random inputs like them, without end."""
    drawn = [(example.method, itertools.islice(variants(given), 1, None)) for example, given in examples]
    while drawn:
        for method, others in drawn:
            yield Call(method, next(others)[1])


def _compare_with_zeros_drawn(
    found: Measured,
    teacher: nn.Module,
    examples: list[Example],
    dtype: torch.dtype,
    promise: Promise,
) -> None:
    """Compare once more with random numbers for weights that are 0 throughout: they hide what stands before them."""
    constant, regrow = found.constant, promise.regrow
    other = with_zeros_drawn(teacher, every=bool(constant)) if regrow is not None else None
    if other is not None and regrow is not None:
        pair = copy_in(other, dtype), copy_in(regrow(other), dtype)
        drawn = measure(*pair, examples, dtype, only_given=False, interface=promise.interface)
        for key, error in drawn.errors.items():
            if key.startswith("eval/"):
                mode, label, name = key.split("/", 2)
                found.errors[f"{mode}/{label} with zero weights drawn/{name}"] = error
                found.calls[f"{mode}/{label} with zero weights drawn"] = drawn.calls[f"{mode}/{label}"]
        constant = [name for name in constant if name in drawn.constant]
    found.notes += [f"output '{name}' is constant: nothing was compared in it" for name in constant]


def _bytes_in_float64(model: nn.Module) -> int:
    return 8 * sum(p.numel() for p in model.parameters())
