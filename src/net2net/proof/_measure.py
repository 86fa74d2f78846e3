"""Teacher and student side by side: every example, in eval and in train mode, on the inputs given and on others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils import _pytree as pytree

from net2net.capture import Example
from net2net.errors import VerificationError
from net2net.proof._error import relative_error
from net2net.proof._inputs import Arguments, move, variants
from net2net.proof._interface import SAME, Interface
from net2net.proof._models import device_of
from net2net.proof._run import ForwardError, Seen, run

MODES = ("eval", "train")
# Of a forward that chooses (a maximum, a comparison) further random inputs: the least and the most, and how much work
# they may be in all. It is counted, not timed: what is proved doesn't depend on the machine or on its load.
_LEAST, _MOST, _WORK = 8, 48, 20_000


@dataclass
class Measured:
    """`errors` by "mode/inputs/output"; `calls` has what was run for each "mode/inputs"; `constant` are outputs that
    are the same for all inputs."""

    errors: dict[str, float] = field(default_factory=dict)
    calls: dict[str, tuple[Example, Arguments]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)


def measure(
    teacher: nn.Module,
    student: nn.Module,
    examples: Sequence[Example],
    dtype: torch.dtype,
    *,
    only_given: bool,
    interface: Interface = SAME,
) -> Measured:
    """The error of every output of every example in every mode. Both models are changed: their statistics move.

    What the student's inputs and outputs have otherwise than the teacher's is in the `interface`.

    Raises:
        ForwardError: the teacher doesn't run on the inputs given, in eval mode.
        VerificationError: the student doesn't run where the teacher does.
    """
    found, seen = Measured(), Seen()
    device = device_of(teacher)
    before = {name: buffer.clone() for name, buffer in teacher.named_buffers()}
    for mode in MODES:
        for example in examples:
            outputs: list[tuple[Arguments, dict[str, Any]]] = []
            for label, given in _chosen(move(example, dtype, device), mode, seen, only_given):
                key = "/".join((mode, " ".join(filter(None, (label, example.name)))))
                given = interface.of_teacher(teacher, example.method, given)
                try:
                    ours = interface.kept(run(teacher, example.method, given, mode, seen), example.method)
                except ForwardError as error:
                    if label == "given" and mode == "eval":
                        raise
                    what = "train mode" if label == "given" else f"{label} inputs"
                    found.notes.append(f"{what} not compared: the teacher doesn't run with it: {error}")
                    if label == "given":
                        break
                    continue
                if label != "given" and not any(map(_has_finite, ours.values())):
                    found.notes.append(f"{label} inputs not compared: the teacher gives no finite output for them")
                    continue
                found.calls.setdefault(key, (example, given))
                theirs = _of_student(teacher, student, example, given, mode, interface)
                for name, size in _errors(ours, theirs):
                    full = f"{key}/{name}"
                    if full not in found.errors or _size(size) > _size(found.errors[full]):
                        found.errors[full], found.calls[key] = size, (example, given)
                outputs.append((given, ours))
            if mode == "eval":
                found.constant += [" ".join(filter(None, (name, example.name))) for name in _constant(outputs)]
    if any(not _equal(buffer, before[name]) for name, buffer in teacher.named_buffers()):
        calls = [(e, interface.of_teacher(teacher, e.method, move(e, dtype, device))) for e in examples]
        _after_training(found, teacher, student, calls, interface)
    if "eval" in seen.drawn:
        found.notes.append("random in eval mode: compared with the randomness switched off")
    return found


def _chosen(given: Arguments, mode: str, seen: Seen, only_given: bool) -> Iterator[tuple[str, Arguments]]:
    """One of each kind of inputs; some dozens where a forward chooses, as what it doesn't choose shows seldom."""
    kinds: set[str] = set()
    count = 0
    for label, arguments in variants(given):
        if label in kinds:
            count += 1
            most = max(_LEAST, min(_MOST, _WORK // max(seen.work, 1)))
            if mode == "train" or not seen.chooses or count > most:
                return
        if mode == "train" and label == "normal":
            continue
        kinds.add(label)
        yield label, arguments
        if only_given:  # large models: one pass through each, so that the proof takes bounded time
            return


def _of_student(
    teacher: nn.Module, student: nn.Module, example: Example, given: Arguments, mode: str, interface: Interface
) -> dict[str, Any]:
    """The student's outputs where the teacher is given this, as far as the teacher has them."""
    given = interface.of_student(teacher, example.method, given)
    try:
        return interface.kept(run(student, example.method, given, mode), example.method, of_student=True)
    except ForwardError as error:
        raise VerificationError(
            f"the student doesn't run in {mode} mode where the teacher does: in {error}. What the example inputs don't "
            "run isn't captured and keeps its sizes and names. Give example inputs that run it (a list of several "
            "examples), name its method (methods=), or don't grow what it shares."
        ) from error


def _after_training(
    found: Measured,
    teacher: nn.Module,
    student: nn.Module,
    calls: Sequence[tuple[Example, Arguments]],
    interface: Interface,
) -> None:
    """Eval mode once more, with the statistics that the passes in train mode have left."""
    for example, given in calls:
        key = " ".join(filter(None, ("train/then eval", example.name)))
        try:
            ours = interface.kept(run(teacher, example.method, given, "eval"), example.method)
        except ForwardError:
            continue
        found.calls[key] = (example, given)
        for name, size in _errors(ours, _of_student(teacher, student, example, given, "eval", interface)):
            found.errors[f"{key}/{name}"] = size


def _has_finite(output: Any) -> bool:
    return isinstance(output, torch.Tensor) and bool(output.isfinite().any())


def _errors(ours: dict[str, Any], theirs: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, reference in ours.items():
        other = theirs.get(name)
        if not isinstance(reference, torch.Tensor):
            continue
        if not isinstance(other, torch.Tensor) or other.shape != reference.shape:
            yield name, math.inf
        elif reference.numel():
            yield name, relative_error(reference, other)


def _size(error: float) -> float:
    return math.inf if math.isnan(error) else error


def _constant(outputs: Sequence[tuple[Arguments, dict[str, Any]]]) -> Iterator[str]:
    """Outputs that don't depend on the inputs: 0 throughout, or the same for all of them."""
    if not outputs:
        return
    (given, first), *others = outputs
    others = [(arguments, o) for arguments, o in others if not _same(arguments, given)]
    for name, value in first.items():
        if not isinstance(value, torch.Tensor) or not value.is_floating_point() or not value.numel():
            continue
        alike = bool(others) and all(_same(o.get(name), value) for _, o in others)
        if alike or not value.any():
            yield name


def _same(a: Any, b: Any) -> bool:
    pairs = zip(pytree.tree_leaves(a), pytree.tree_leaves(b), strict=True)
    return all(not isinstance(x, torch.Tensor) or _equal(x, y) for x, y in pairs)


def _equal(a: torch.Tensor, b: torch.Tensor) -> bool:
    if a.layout is not torch.strided and b.layout is not torch.strided:
        a, b = a.to_dense(), b.to_dense()
    return a.shape == b.shape and torch.equal(a, b)
