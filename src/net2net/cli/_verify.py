"""`net2net verify`: two networks on the same inputs; large checkpoints in a stream."""

from __future__ import annotations

from pathlib import Path

from net2net.cli._inputs import parse
from net2net.cli._sources import example_inputs, is_grown, is_pretrained, load, load_grown
from net2net.errors import StudentMismatchError
from net2net.huggingface import FLOAT64_BYTES, open_folder, verify_checkpoints
from net2net.proof import Promise, Verification, compare_models, verify


def compared(
    teacher: str,
    student: str,
    inputs: list[str] | None,
    weights: Path | None,
    student_weights: Path | None,
    seed: int,
) -> Verification:
    """How far the student is from the teacher.

    Raises:
        StudentMismatchError: they don't run on the same inputs.
    """
    if is_pretrained(teacher) and is_pretrained(student):
        folders = [open_folder(source) for source in (teacher, student)]
        dtypes = [{stored.dtype for stored in folder.tensors.values()} for folder in folders]
        if max(folder.bytes() for folder in folders) > FLOAT64_BYTES or dtypes[0] != dtypes[1]:
            specified = parse(inputs, seed) if inputs else None
            return verify_checkpoints(teacher, student, example_inputs=specified, seed=seed)
    first = load(teacher, inputs, weights, seed=seed)
    given = example_inputs(first)
    if is_grown(student):
        growth = load_grown(Path(student), first.model, given, student_weights)
        promise = Promise(approximate=growth.verification.approximate, interface=growth.known.interface)
        return compare_models(first.model, growth.student, growth.inputs, promise)
    other = load(student, None, student_weights, seed=seed).model
    try:
        return verify(first.model, other, given)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[:1]
        raise StudentMismatchError(f"the two networks don't run on the same inputs: {''.join(reason)}") from error
