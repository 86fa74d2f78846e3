"""The proof of a checkpoint from its files: both models on the same inputs, each module's weights read when it runs."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from net2net.apply import PIECE, alone, in_threads
from net2net.capture import Inputs, named_outputs
from net2net.errors import CheckpointError, NeedsMemory, StudentMismatchError
from net2net.huggingface._folder import Folder, open_folder
from net2net.huggingface._hub import local_folder
from net2net.huggingface._inputs import Tensors, from_config, given_inputs, suiting
from net2net.huggingface._parts import by_modules
from net2net.huggingface._proof import long_inputs
from net2net.huggingface._stream import streaming_model
from net2net.plan import Preservation
from net2net.pretrained import bare_model
from net2net.proof import SAME, Interface, Verification, relative_error

# Above this many bytes of weights the proof runs in float32.
FLOAT64_BYTES = 2**30


@dataclass(frozen=True)
class Trial:
    """What two checkpoints are compared on: inputs by name, whether the user gave them, and what they don't reach."""

    inputs: Mapping[str, Tensors]
    made: bool = True
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outputs:
    """What a checkpoint computes, by the name of the inputs, and in which dtype."""

    values: Mapping[str, dict[str, Any]]
    dtype: torch.dtype


def trial_of(folder: Folder, seed: int, given: Inputs | None = None) -> Trial:
    """The user's inputs; or some that are made from the config, and longer ones where it knows of lengths.

    Raises:
        OptionError: the class takes something that no config describes.
    """
    if given is not None:
        return Trial({"given": given_inputs(folder.model_class, given)}, made=False)
    short = from_config(folder.model_class, folder.config, seed)
    parameters = sum(math.prod(stored.shape) for stored in folder.tensors.values())
    longer, notes = long_inputs(folder.model_class, folder.config, seed, parameters)
    return Trial({"given": short, **longer}, notes=notes)


def verify_checkpoints(
    teacher: str | Path, student: str | Path, *, example_inputs: Inputs | None = None, seed: int = 0
) -> Verification:
    """Whether two checkpoints compute the same, measured without having either of them in memory.

    Args:
        teacher, student: folders with config.json and safetensors, or names of models on the hub.
        example_inputs: as for `grow_checkpoint`.
        seed: of the inputs, where they are made as the teacher's config says.

    Raises:
        CheckpointError: a folder is damaged, or doesn't run.
        StudentMismatchError: they don't take the same inputs or give the same outputs.

    Example:
        >>> print(verify_checkpoints("llama", "llama-wide"))  # doctest: +SKIP
    """
    first, second = open_folder(local_folder(teacher)), open_folder(local_folder(student))
    trial = trial_of(first, seed, example_inputs)
    return compare(reference(first, trial), second, trial, "exact", first)


def reference(folder: Folder, trial: Trial) -> Outputs:
    """What the teacher computes, and the dtype that it was computed in. Longer texts that it refuses are left out.

    Raises:
        CheckpointError: it doesn't run, or nothing finite comes out.
    """
    _check_finite(folder)
    large = folder.bytes() > FLOAT64_BYTES
    first, *longer = trial.inputs
    with suiting(folder.model_class, trial.inputs[first], trial.made):
        own, dtype = _outputs(
            folder, trial.inputs[first], (torch.float32,) if large else (torch.float64, torch.float32)
        )
    if not any(torch.isfinite(o).any() for o in own.values() if isinstance(o, torch.Tensor)):
        raise CheckpointError("the source gives no finite output: its weights hold NaN or infinity.")
    found = {first: own}
    for label in longer:
        with contextlib.suppress(Exception):  # constructors raise anything
            found[label], _ = _outputs(folder, trial.inputs[label], (dtype,))
    return Outputs(found, dtype)


def _check_finite(folder: Folder) -> None:
    """Every weight is a number; a made-up input may never look at the one that isn't."""

    def odd(name: str) -> str | None:
        stored = folder.tensors[name]
        if not stored.dtype.is_floating_point:
            return None
        rows = stored.shape[0] if stored.shape else 1
        step = max(1, PIECE * rows // max(1, math.prod(stored.shape)))
        parts = (folder.read(name, np.arange(i, min(i + step, rows))) for i in range(0, rows, step))
        # The extremes show NaN and infinity too, and are found 50 times as fast as `isfinite` looks at every entry.
        extremes = (torch.stack(torch.aminmax(part)) for part in parts if part.numel())
        return None if all(bool(torch.isfinite(pair).all()) for pair in extremes) else name

    # Buffers may hold infinity: a mask does.
    model = bare_model(folder.model_class, folder.config)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    with contextlib.suppress(NeedsMemory):
        folder = by_modules(folder, model)
    found = next(filter(None, in_threads(odd, [n for n in folder.tensors if n in parameters])), None)
    if found is not None:
        raise CheckpointError(f"'{found}' of the source holds NaN or infinity.")


def compare(
    ours: Outputs,
    student: Folder,
    trial: Trial,
    promise: Preservation,
    teacher: Folder | None = None,
    interface: Interface = SAME,
) -> Verification:
    """How far a student is from what its teacher computes, on inputs and outputs that both have (`interface`).

    What its dtype rounds is allowed for; also what the `teacher`'s rounds, where either may be made from the other.

    Raises:
        StudentMismatchError: it doesn't run on these inputs, or gives other outputs.
    """
    working, errors = ours.dtype, {}
    moved: dict[str, float] = {}
    try:
        for label, values in ours.values.items():
            theirs, _ = _outputs(student, interface.of_student_by_name(trial.inputs[label]), (working,))
            for port in interface.outputs:
                moved[port.name] = max(port.share(theirs[port.name]) or 0.0, moved.get(port.name, 0.0))
            theirs = interface.kept(theirs, "forward", of_student=True)
            for name, value in interface.kept(values, "forward").items():
                if isinstance(value, torch.Tensor):
                    errors[f"eval/{label}/{name}"] = relative_error(value, theirs[name])
    except (RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudentMismatchError(f"the two checkpoints don't compute alike: {reason}") from error
    rounded = {s.dtype for folder in (student, teacher) if folder is not None for s in folder.tensors.values()}
    tolerance = 1e-1 if torch.bfloat16 in rounded else 2e-2 if torch.float16 in rounded else 1e-5
    left = tuple(
        f"{label} inputs not compared: the source doesn't run on them"
        for label in trial.inputs.keys() - ours.values.keys()
    )
    shares = tuple(f"new entries of '{n}' get up to {share:.1e} of the probability" for n, share in moved.items())
    notes = (*trial.notes, *left, *shares)
    return Verification(errors, tolerance, promise, str(working).removeprefix("torch."), notes=notes)


def _outputs(folder: Folder, inputs: Tensors, dtypes: Sequence[torch.dtype]) -> tuple[dict[str, Any], torch.dtype]:
    """What a checkpoint computes, and in which dtype: streamed, or in memory where a module reads another's weights."""
    for working in dtypes:
        given = {k: v.to(working) if v.is_floating_point() else v for k, v in inputs.items()}
        try:
            model = streaming_model(folder, working)
            with torch.no_grad(), alone():
                return named_outputs(model(**given)), working
        except (RuntimeError, NotImplementedError, KeyError, StopIteration, NeedsMemory):
            continue  # a cast to one dtype is written into its forward, or its files have other names
    model_class: Any = folder.model_class
    whole = model_class.from_pretrained(folder.path, dtype=torch.float32, local_files_only=True).eval()
    with torch.no_grad():
        return named_outputs(whole(**inputs)), torch.float32
