"""Grows a checkpoint of any size: planned without weights, written in a stream, verified from the files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from net2net._version import __version__
from net2net.analysis import Size
from net2net.apply import bounds, make_piece, pieces, root_mean_square, threads
from net2net.capture import Inputs
from net2net.depth import DepthOptions, Positions
from net2net.errors import CheckpointError, GrowthError, NeedsMemory, OptionError, SizeError, VerificationError
from net2net.huggingface._beside import PLAN_FILE, REQUEST, CheckpointGrowth, complete
from net2net.huggingface._config import new_config
from net2net.huggingface._depth import check_used
from net2net.huggingface._effect import check_effect
from net2net.huggingface._experts import experts_asked, plan_experts
from net2net.huggingface._folder import NAMES, Folder, open_folder
from net2net.huggingface._heads import naming_heads
from net2net.huggingface._hub import local_folder
from net2net.huggingface._job import Job
from net2net.huggingface._memory import grow_in_memory
from net2net.huggingface._optimizer import check_state, optimizer_writer, state_file
from net2net.huggingface._plan import CheckpointPlan, plan_checkpoint
from net2net.huggingface._rounding import with_rounding
from net2net.huggingface._verify import Outputs, compare, reference, trial_of
from net2net.huggingface._write import Slot, layout, write
from net2net.plan import Plan
from net2net.pretrained import bare_model
from net2net.proof import Verification
from net2net.width import NoiseSpec, WidthOptions

_ROWS = 2**20
_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
Progress = Callable[[str, int, int], None]


def grow_checkpoint(
    source: str | Path,
    target: str | Path,
    sizes: Mapping[str, Size],
    *,
    example_inputs: Inputs | None = None,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    init: str = "identity",
    positions: Positions | None = None,
    dtype: str | None = None,
    max_shard_size: str = "5GB",
    optimizer: str | None = None,
    seed: int = 0,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> CheckpointGrowth:
    """Grow a Hugging Face checkpoint, wider and deeper, without ever having it in memory.

    Args:
        source: a folder with config.json and safetensors, or the name of a model on the hub, which is downloaded into
            its cache. It is only read.
        target: the folder to write. It appears under its name when it is whole; an interrupted run goes on where it
            was when the same call is made again.
        sizes: words of the config to new sizes: {"hidden_size": "2x", "num_hidden_layers": 32}. The numbers of experts
            and of experts per token grow together, by copies: {"num_experts": "2x", "num_experts_per_tok": "2x"}.
        example_inputs: what the model runs on, {name of an argument: tensor}. By default they are made from the config:
            tokens, pixels and sounds.
        how, shares, noise, seed: as for `widen`.
        init, positions: as for `deepen`.
        dtype: of the new weights, such as "bfloat16"; by default each tensor keeps its own. (What can't be streamed has
            the widest of all tensors.)
        max_shard_size: of a file, such as "5GB" or "500MB".
        optimizer: a file in the source with the state of its optimizer, such as the Trainer's "optimizer.pt"; it grows
            too, and what else a run needs to go on (scheduler, random states) is copied.
        dry_run: plan and check everything, write nothing. What can't be streamed is grown in memory for it.
        progress: is called with what is being done, and how much of how much is finished.

    Returns:
        The plan, what it takes on disk, and the proof.

    Raises:
        CheckpointError: the source is damaged or doesn't fit its config; the target exists, or the disk is too small.
        GrowthError: the request can't be met exactly. Nothing is written then.
        VerificationError: the files don't compute the teacher's function; the target is not made.

    Example:
        >>> grow_checkpoint("llama", "llama-wide", {"hidden_size": "2x"})  # doctest: +SKIP
    """
    target = Path(target)
    source = local_folder(source)
    partial = place(target, source)
    folder = open_folder(source)
    state = None if optimizer is None else state_file(folder.path, optimizer)
    if new_config(folder.config, sizes).to_dict() == folder.config.to_dict():
        raise SizeError(f"{dict(sizes)} changes nothing in {folder.path}/config.json; ask for more.")
    if state is not None:
        check_state(state, bare_model(folder.model_class, folder.config))
    options, depth = WidthOptions(how, shares, noise, seed), DepthOptions(init, positions, seed=seed)
    experts = experts_asked(folder.config, sizes)
    new_dtype, most = _dtype(dtype), shard_bytes(max_shard_size)
    if experts is None:
        check_effect(folder.model_class, folder.config, sizes)
    trial = trial_of(folder, seed, example_inputs)
    job = Job(folder, target, partial, sizes, options, depth, trial, new_dtype, most, state, dry_run)
    with naming_heads(folder.model_class):
        try:
            if experts is not None:
                planned = plan_experts(folder, experts, "raise_k", 0.0, seed, trial)
            else:
                planned = plan_checkpoint(folder, sizes, options, depth, trial)
        except NeedsMemory as reason:
            if experts is not None:
                raise CheckpointError(f"{reason} net2net.upcycle_checkpoint grows experts in memory.") from reason
            return grow_in_memory(job, str(reason))
    return streamed(job, planned, progress)


def streamed(
    job: Job, planned: CheckpointPlan, progress: Progress | None, teacher: Outputs | None = None
) -> CheckpointGrowth:
    """Carry out a plan from folder to folder; `teacher` is what the teacher computes, where that is known already."""
    folder, partial = job.folder, job.partial
    check_used(job.depth, planned.plan)
    files = with_rounding(planned.files, lambda name: folder.tensors[name].dtype, job.dtype)
    plan = replace(planned.plan, notes=files.notes)
    models = planned.teacher, planned.student
    write_state = None if job.state is None else optimizer_writer(job.state, plan, *models)
    slots = layout(_wanted(folder, files, job.dtype), job.max_shard_bytes)
    length = sum(slot.length for slot in slots)
    room = job.room(models, length)
    found = job.found(plan, room, max(_memory(files, slots), room.optimizer[1] if room.optimizer else 0))
    if job.dry_run:
        return found
    teacher = teacher or reference(folder, job.trial)
    _prepare(job, plan, slots)
    if write_state is not None:
        try:
            write_state(partial)
        except GrowthError:
            shutil.rmtree(partial)
            raise
    finished = 0

    def done(count: int) -> None:
        nonlocal finished
        finished += count
        if progress is not None:
            progress("writing", finished, length)

    sums = write(partial, slots, lambda slot: _pieces(folder, files, slot), done)
    if job.dtype is not None:
        planned.config.dtype = job.dtype
    planned.config.save_pretrained(partial)
    complete(partial, folder.path, plan, sums, run=job.state is not None)
    proof = compare(teacher, open_folder(partial), job.trial, plan.preserves, interface=planned.interface)
    return job.finish(found, require(proof, partial, planned.config))


def _wanted(folder: Folder, plan: Plan, dtype: torch.dtype | None) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    found = {}
    for name, tensor in plan.tensors.items():
        own = folder.tensors[tensor.source or name].dtype
        found[name] = (tensor.shape, dtype if dtype is not None and own.is_floating_point else own)
    return found


def _dtype(name: str | None) -> torch.dtype | None:
    wanted = None if name is None else getattr(torch, name, None)
    if name is not None and not (isinstance(wanted, torch.dtype) and wanted in NAMES and wanted.is_floating_point):
        raise OptionError(f"dtype={name!r} is not a floating-point dtype; use float32, bfloat16 or float16.")
    return wanted


def shard_bytes(size: str) -> int:
    text = size.strip().upper()
    try:
        number = float(text[:-2]) * _UNITS[text[-2:]]
        if number >= 1:
            return int(number)
    except (ValueError, KeyError, OverflowError):
        pass
    raise OptionError(f"max_shard_size={size!r} is not a size; write 5GB or 500MB.")


def place(target: Path, source: Path) -> Path:
    """The folder that a run writes to, until it is whole and gets the target's name."""
    target = target.absolute()
    if os.path.lexists(target):
        raise CheckpointError(f"{target} exists already; name a new folder.")
    if source.resolve() in target.resolve().parents:
        raise CheckpointError(f"{target} is in the source's folder, which is only read; name one elsewhere.")
    parent = next(p for p in target.parents if p.exists())
    try:
        with tempfile.TemporaryDirectory(dir=parent):
            pass  # rights alone don't say whether a folder can be made there
    except OSError as error:
        raise CheckpointError(f"nothing can be written in {parent} ({error.strerror}); name another target.") from error
    partial = target.with_name(f".{target.name}.partial")
    if os.path.lexists(partial) and not _is_of_a_run(partial):
        raise CheckpointError(f"{partial} is in the way, and no earlier run has made it; remove it.")
    return partial


def _is_of_a_run(partial: Path) -> bool:
    """Whether a folder was begun by an earlier run, which may have been stopped at any moment."""
    if partial.is_symlink() or not partial.is_dir():
        return False
    return (partial / REQUEST).is_file() or (partial / PLAN_FILE).is_file() or not any(partial.iterdir())


def _prepare(job: Job, plan: Plan, slots: list[Slot]) -> None:
    """Make the folder, or check that the one that is there is of an earlier run of the same growth."""
    partial, state = job.partial, job.state
    read = {stored.file for stored in job.folder.tensors.values()} | ({state} if state else set())
    wanted = {
        "sizes": {k: str(v) for k, v in job.sizes.items()},
        "width": repr(job.options),
        "depth": repr(job.depth),
        "dtype": str(job.dtype),
        "max_shard_bytes": job.max_shard_bytes,
        "optimizer": None if state is None else state.name,
        "source": {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in sorted(read)},
        "layout": hashlib.sha256(repr(slots).encode()).hexdigest(),
        "plan": _digest(plan),
        "version": __version__,
    }
    text, request = json.dumps(wanted), partial / REQUEST
    if request.is_file() and request.read_text() == text:
        return
    partial.mkdir(parents=True, exist_ok=True)
    # What tells whose folder it is goes last: the run may be stopped here too.
    for file in sorted(partial.iterdir(), key=lambda file: file.name in (REQUEST, PLAN_FILE)):
        shutil.rmtree(file) if file.is_dir() and not file.is_symlink() else file.unlink()
    request.write_text(text)


def _digest(plan: Plan) -> str:
    """What tells one plan from any other: the SHA-256 of its file."""
    with tempfile.TemporaryDirectory() as folder:
        plan.save(Path(folder) / PLAN_FILE)
        return hashlib.sha256((Path(folder) / PLAN_FILE).read_bytes()).hexdigest()


def _pieces(folder: Folder, plan: Plan, slot: Slot) -> Iterator[torch.Tensor]:
    tensor = plan.tensors[slot.name]
    source = tensor.source or slot.name
    stored = folder.tensors[source]
    rows = stored.shape[0] if stored.shape else 1

    def read(places: npt.NDArray[np.int64]) -> torch.Tensor:
        return folder.read(source, places)

    def rms() -> float:
        per_row = max(1, int(np.prod(stored.shape[1:], dtype=np.int64)))
        step = max(1, _ROWS // per_row)
        return root_mean_square(read(np.arange(i, min(i + step, rows))) for i in range(0, rows, step))

    return pieces(slot.name, tensor, rows, plan.seed, read, rms, make_piece)


def _memory(plan: Plan, slots: list[Slot]) -> int:
    """Bytes for the largest pieces, as many as are made at once, each with what it is made from and its copies."""
    largest = max(slot.length // len(bounds(plan.tensors[slot.name])) for slot in slots)
    return 4 * largest * threads()


def require(found: Verification, partial: Path, config: Any) -> Verification:
    if not found.passed:
        raise VerificationError(
            f"the files don't compute the teacher's function: relative error {found.max_relative_error:.1e}, tolerance "
            f"{found.tolerance:.0e}. They stay in {partial.name}; {type(config).__name__} may not express "
            "something that changed."
        )
    return found
