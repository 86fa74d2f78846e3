"""The way for checkpoints whose files or layers can't be streamed: grown in memory, saved by their own class."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from net2net.analysis import Size
from net2net.depth import order
from net2net.errors import CheckpointError, GrowthError, VerificationError
from net2net.growth import Growth
from net2net.huggingface._beside import EXTRA_FILES, REQUEST, CheckpointGrowth, complete
from net2net.huggingface._config import check_saves, new_config
from net2net.huggingface._depth import DepthRequest, check_used, with_longer_lists
from net2net.huggingface._folder import Folder, bare_model, open_folder
from net2net.huggingface._inputs import suiting
from net2net.huggingface._optimizer import RUN_FILES, optimizer_writer
from net2net.huggingface._rounding import with_rounding
from net2net.huggingface._verify import Trial
from net2net.huggingface._write import check_disk, checksum
from net2net.operators import transfer
from net2net.plan import Plan
from net2net.pretrained import set_key
from net2net.proof import Verification, verify
from net2net.student import eps_changes
from net2net.width import WidthOptions


def grow_in_memory(
    folder: Folder,
    target: Path,
    partial: Path,
    sizes: Mapping[str, Size],
    options: WidthOptions,
    depth: DepthRequest,
    trial: Trial,
    dtype: torch.dtype | None,
    max_shard_size: str,
    state: Path | None,
    reason: str,
    dry_run: bool,
) -> CheckpointGrowth:
    """`grow_checkpoint` for one that fits into memory.

    `partial` is the folder to write to until it is whole, `state` the file with its optimizer's state, `reason` says
    why the checkpoint isn't streamed. A dry run makes the student and proves it, and stops there.

    Raises:
        GrowthError: the request can't be met exactly.
        CheckpointError: the disk is too small.
    """
    model_class: Any = folder.model_class

    def chosen(count: int, more: int) -> list[int]:
        return [source for source, _ in order(count, more, depth.init, depth.positions or "spread", "layers")]

    config = with_longer_lists(model_class, folder.config, new_config(folder.config, sizes), chosen)
    check_saves(config)
    bare, bigger = (bare_model(model_class, c) for c in (folder.config, config))
    working = _widest(folder)
    counts = tuple(sum(t.numel() for t in m.parameters()) for m in (bare, bigger))
    lengths = folder.bytes(), _bytes(bigger, dtype or working)
    states = None if state is None else (state.stat().st_size, state.stat().st_size * counts[1] // counts[0])
    check_disk(partial, lengths[1] + (0 if states is None else states[1]))
    teacher = _teacher(folder, working)
    student = _student(model_class, config, working, options.seed)
    inputs = trial.inputs["given"]
    with suiting(model_class, inputs, trial.made):
        growth = transfer(
            teacher,
            student,
            inputs,
            how=options.how,
            shares=options.shares,
            noise=options.noise,
            init=depth.init,
            positions=depth.positions,
            seed=options.seed,
        )
    plan: Plan = with_rounding(growth.plan, lambda name: working, dtype)
    check_used(depth, plan)
    attributes = {**(plan.earlier.attributes if plan.earlier else {}), **plan.attributes}
    for key, value in eps_changes(teacher, _before(teacher, attributes)).items():
        set_key(student.config, key, value)
    if dtype is not None:
        student.to(dtype)
    write_state = None if state is None else optimizer_writer(state, plan, teacher, student)
    memory = 3 * sum(lengths)  # both models, what they compute with, and the copy that is loaded again
    found = CheckpointGrowth(target, plan, (counts[0], counts[1]), lengths, memory, None, states, reason)
    if dry_run:
        return found
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / REQUEST).write_text("null\n")  # no request: such a run starts anew
    student.save_pretrained(partial, max_shard_size=max_shard_size)
    written = open_folder(partial)
    sums = {name: checksum(written.read(name)) for name in written.tensors}
    complete(partial, folder, plan, sums, EXTRA_FILES if state is None else EXTRA_FILES + RUN_FILES)
    if write_state is not None:
        try:
            write_state(partial)
        except GrowthError:
            shutil.rmtree(partial)
            raise
    try:
        loaded = model_class.from_pretrained(partial, dtype="auto", local_files_only=True)
    except Exception as error:  # constructors raise anything
        shutil.rmtree(partial)
        raise CheckpointError(f"what {model_class.__name__} saves, it doesn't load again: {error}.") from error
    again = verify(student, loaded, inputs)
    if not again.passed:
        shutil.rmtree(partial)
        raise VerificationError(
            "the student was grown and verified, but its folder doesn't load as the same function: relative error "
            f"{again.max_relative_error:.1e}. Its config cannot express something that changed. Nothing is written."
        )
    proof = _also_longer(growth, loaded, trial)
    if not proof.passed:
        shutil.rmtree(partial)
        raise VerificationError(
            f"the student doesn't compute the teacher's function on longer texts: relative error "
            f"{proof.max_relative_error:.1e}, tolerance {proof.tolerance:.0e}. Nothing is written."
        )
    found = replace(found, bytes=(folder.bytes(), written.bytes()), verification=proof)
    (partial / "growth.json").write_text(json.dumps(found.summary(), indent=2) + "\n")
    (partial / REQUEST).unlink()
    partial.rename(target)
    return found


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


def _widest(folder: Folder) -> torch.dtype:
    """The dtype that holds every weight of the files as it is."""
    own = {stored.dtype for stored in folder.tensors.values() if stored.dtype.is_floating_point}
    return functools.reduce(torch.promote_types, own) if own else torch.float32


def _bytes(model: nn.Module, dtype: torch.dtype) -> int:
    """What the files of a model without weights will take."""
    skipped = set(getattr(model, "_keys_to_ignore_on_save", None) or ())
    tensors = {id(t): t for name, t in model.state_dict(keep_vars=True).items() if name not in skipped}
    return sum(t.numel() * (dtype if t.is_floating_point() else t.dtype).itemsize for t in tensors.values())


def _teacher(folder: Folder, dtype: torch.dtype) -> Any:
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


def _before(teacher: Any, attributes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The attributes of modules that the teacher has too: new blocks follow them."""
    paths = dict(teacher.named_modules())
    return {path: dict(values) for path, values in attributes.items() if path in paths}
