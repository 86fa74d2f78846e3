"""The way for checkpoints whose files or layers can't be streamed: grown in memory, saved by their own class."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net.depth import order
from net2net.errors import CheckpointError, VerificationError
from net2net.growth import Growth
from net2net.huggingface._beside import CheckpointGrowth
from net2net.huggingface._config import check_saves, new_config
from net2net.huggingface._depth import check_used
from net2net.huggingface._folder import Folder
from net2net.huggingface._inputs import suiting
from net2net.huggingface._job import Job
from net2net.huggingface._optimizer import optimizer_writer
from net2net.huggingface._rounding import with_rounding
from net2net.huggingface._save import memory, save, weight_bytes
from net2net.huggingface._verify import Trial
from net2net.operators import transfer
from net2net.pretrained import bare_model, with_longer_lists
from net2net.proof import Verification, verify


def grow_in_memory(job: Job, reason: str) -> CheckpointGrowth:
    """`grow_checkpoint` for one that fits into memory.

    `reason` says why the checkpoint isn't streamed. A dry run makes the student and proves it, and stops there.

    Raises:
        GrowthError: the request can't be met exactly.
        CheckpointError: the disk is too small.
    """
    folder, depth = job.folder, job.depth
    model_class: Any = folder.model_class

    def chosen(count: int, more: int) -> list[int]:
        return [source for source, _ in order(count, more, depth.init, depth.positions or "spread", "layers")]

    config = with_longer_lists(model_class, folder.config, new_config(folder.config, job.sizes), chosen)
    check_saves(config)
    bare, bigger = (bare_model(model_class, c) for c in (folder.config, config))
    working = widest(folder)
    room = job.room((bare, bigger), weight_bytes(bigger, job.dtype or working))
    teacher = load_teacher(folder, working)
    growth = _grown(job, teacher, _student(model_class, config, working, job.options.seed))
    plan, student = with_rounding(growth.plan, lambda name: working, job.dtype), growth.student
    check_used(depth, plan)
    if job.dtype is not None:
        student.to(job.dtype)
    write_state = None if job.state is None else optimizer_writer(job.state, plan, teacher, student)
    found = job.found(plan, room, memory(room.bytes), reason)
    if job.dry_run:
        return found
    partial = job.partial
    with job.begun_anew():
        loaded, length = save(
            student,
            partial,
            folder.path,
            plan,
            job.trial.inputs["given"],
            shard_bytes=job.max_shard_bytes,
            run=job.state is not None,
        )
        if write_state is not None:
            write_state(partial)
        proof = _also_longer(growth, loaded, job.trial)
        if not proof.passed:
            raise VerificationError(
                f"the student doesn't compute the teacher's function on longer texts: relative error "
                f"{proof.max_relative_error:.1e}, tolerance {proof.tolerance:.0e}. Nothing is written."
            )
    return job.finish(replace(found, bytes=(room.bytes[0], length)), proof)


def _grown(job: Job, teacher: Any, student: Any) -> Growth:
    """The growth in memory."""
    inputs, options = job.trial.inputs["given"], job.options
    with suiting(job.folder.model_class, inputs, job.trial.made):
        return transfer(
            teacher,
            student,
            inputs,
            how=options.how,
            shares=options.shares,
            noise=options.noise,
            init=job.depth.init,
            positions=job.depth.positions,
            seed=options.seed,
        )


def _also_longer(growth: Growth, loaded: nn.Module, trial: Trial) -> Verification:
    """The growth's proof, and what it leaves out: texts longer than the lengths that the config knows."""
    proof, notes = growth.verification, [*growth.verification.notes, *trial.notes]
    errors = dict(proof.errors)
    for label, inputs in trial.inputs.items():
        if label == "given":
            continue
        try:
            found = verify(growth.teacher, loaded, inputs)
        except Exception as error:  # constructors raise anything
            notes.append(f"{label} inputs not compared: {type(error).__name__}")
            continue
        errors.update({k.replace("/given/", f"/{label}/"): e for k, e in found.errors.items() if "/given/" in k})
    return replace(proof, errors=errors, notes=tuple(notes))


def widest(folder: Folder) -> torch.dtype:
    """The dtype that holds every weight of the files as it is."""
    own = {stored.dtype for stored in folder.tensors.values() if stored.dtype.is_floating_point}
    return functools.reduce(torch.promote_types, own) if own else torch.float32


def load_teacher(folder: Folder, dtype: torch.dtype) -> Any:
    model_class: Any = folder.model_class
    try:
        teacher, loading = model_class.from_pretrained(
            folder.path, dtype=dtype, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # constructors raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{model_class.__name__} can't be loaded from {folder.path}: {reason}") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if loading.get(problem):
            raise CheckpointError(
                f"the files don't fit {model_class.__name__}: {problem} {sorted(loading[problem])[:3]}."
            )
    for name, parameter in teacher.named_parameters():
        if parameter.numel() and not torch.isfinite(torch.stack(torch.aminmax(parameter.detach()))).all():
            raise CheckpointError(f"'{name}' of the source holds NaN or infinity.")
    return teacher.eval()


def _student(model_class: Any, config: Any, dtype: torch.dtype, seed: int) -> Any:
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return model_class(config).to(dtype).eval()
    except Exception as error:  # constructors raise anything
        raise CheckpointError(f"{model_class.__name__} can't be constructed at these sizes: {error}.") from error
