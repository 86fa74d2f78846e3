"""A model in memory -> a folder with all that belongs beside its weights, loaded again and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from net2net.capture import Inputs
from net2net.errors import CheckpointError, VerificationError
from net2net.growth import Growth
from net2net.huggingface._beside import CheckpointGrowth, complete
from net2net.huggingface._folder import open_folder
from net2net.huggingface._write import checksum
from net2net.plan import Plan
from net2net.proof import verify

_SHARD_BYTES = 5 * 10**9


def save(
    student: nn.Module,
    folder: Path,
    source: Path,
    plan: Plan,
    inputs: Inputs,
    *,
    shard_bytes: int = _SHARD_BYTES,
    run: bool = False,
) -> tuple[nn.Module, int]:
    """Write a student to a folder, with what `complete` adds, and load it again.

    Args:
        student: a model of transformers.
        folder: an empty folder; what is in it is the caller's to remove where this raises.
        source: the teacher's folder.
        plan: of the growth.
        inputs: on which the loaded student must compute what the student does.
        shard_bytes: the most bytes of a file.
        run: whether what a training run needs to go on is copied too.

    Returns:
        The loaded student, and the bytes of its weights.

    Raises:
        CheckpointError: it doesn't load again.
        VerificationError: it loads as another function.
    """
    model: Any = student
    model.save_pretrained(folder, max_shard_size=shard_bytes)
    written = open_folder(folder)
    complete(folder, source, plan, {name: checksum(written.read(name)) for name in written.tensors}, run)
    try:
        loaded: nn.Module = type(model).from_pretrained(folder, dtype="auto", local_files_only=True)
    except Exception as error:  # constructors raise anything
        raise CheckpointError(f"what {type(model).__name__} saves, it doesn't load again: {error}.") from error
    again = verify(student, loaded, inputs)
    if not again.passed:
        raise VerificationError(
            "the student was grown and verified, but its folder doesn't load as the same function: relative error "
            f"{again.max_relative_error:.1e}. Its config cannot express something that changed: "
            f"{sorted(plan.attributes) or 'a size'}. Nothing is written."
        )
    return loaded, written.bytes()


def save_growth(growth: Growth, source: Path, folder: Path, target: Path) -> CheckpointGrowth:
    """Write the student of a growth whose teacher was loaded from `source` to a folder that will be the target.

    Raises:
        CheckpointError, VerificationError: as for `save`.
    """
    models = growth.teacher, growth.student
    before, after = (sum(t.numel() for t in model.parameters()) for model in models)
    _, length = save(growth.student, folder, source, growth.plan, growth.student_inputs)
    lengths = weight_bytes(growth.teacher), length
    reason = "dimensions, modules or blocks are named, no words of its config"
    found = growth.plan, (before, after), lengths, memory(lengths), growth.verification
    return CheckpointGrowth(target, *found, in_memory=reason)


def weight_bytes(model: nn.Module, dtype: torch.dtype | None = None) -> int:
    """What the files of a model will take, in its own or another dtype; its weights may be on the meta device."""
    skipped = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    tensors = {id(t): t for name, t in model.state_dict(keep_vars=True).items() if name not in skipped}
    own = ((t, dtype if dtype is not None and t.is_floating_point() else t.dtype) for t in tensors.values())
    return sum(t.numel() * kind.itemsize for t, kind in own)


def memory(lengths: tuple[int, int]) -> int:
    """About what a growth in memory takes: both models, what they compute with, and the copy that is loaded again."""
    return 3 * sum(lengths)
