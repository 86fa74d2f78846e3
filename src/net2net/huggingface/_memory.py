"""The way for checkpoints whose files or layers can't be streamed: grown in memory, saved by their own class."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from net2net.build._config import eps_changes, set_key
from net2net.errors import CheckpointError, GrowthError, VerificationError
from net2net.growth import Growth
from net2net.huggingface._beside import EXTRA_FILES, REQUEST, CheckpointGrowth, complete
from net2net.huggingface._config import check_saves, new_config
from net2net.huggingface._depth import DepthRequest
from net2net.huggingface._folder import Folder, open_folder
from net2net.huggingface._inputs import from_config
from net2net.huggingface._optimizer import RUN_FILES, optimizer_writer
from net2net.huggingface._write import check_disk
from net2net.plan import Plan, WidthOptions
from net2net.request import Size
from net2net.transferring import transfer
from net2net.verify import verify


def grow_in_memory(
    folder: Folder,
    target: Path,
    partial: Path,
    sizes: Mapping[str, Size],
    options: WidthOptions,
    depth: DepthRequest,
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
    teacher, student, growth, inputs = _grown(folder, sizes, options, depth)
    if dtype is not None:
        student.to(dtype)
    plan: Plan = growth.plan
    write_state = None if state is None else optimizer_writer(state, plan, teacher, student)
    counts = tuple(sum(t.numel() for t in m.parameters()) for m in (teacher, student))
    length = sum(t.nbytes for t in {id(t): t for t in student.state_dict(keep_vars=True).values()}.values())
    states = None if state is None else (state.stat().st_size, state.stat().st_size * counts[1] // counts[0])
    memory = 3 * (folder.bytes() + length)  # both models, what they compute with, and the copy that is loaded again
    lengths = (folder.bytes(), length)
    found = CheckpointGrowth(target, plan, (counts[0], counts[1]), lengths, memory, None, states, reason)
    check_disk(partial, length + (0 if states is None else states[1]))
    if dry_run:
        return found
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / REQUEST).write_text("null\n")  # no request: such a run starts anew
    student.save_pretrained(partial, max_shard_size=max_shard_size)
    complete(partial, folder, plan, EXTRA_FILES if state is None else EXTRA_FILES + RUN_FILES)
    if write_state is not None:
        try:
            write_state(partial)
        except GrowthError:
            shutil.rmtree(partial)
            raise
    model_class: Any = folder.model_class
    loaded = model_class.from_pretrained(partial, dtype="auto", local_files_only=True)
    again = verify(student, loaded, inputs)
    if not again.passed:
        shutil.rmtree(partial)
        raise VerificationError(
            "the student was grown and verified, but its folder doesn't load as the same function: relative error "
            f"{again.max_relative_error:.1e}. Its config has no word for something that changed. Nothing is written."
        )
    found = replace(found, bytes=(folder.bytes(), open_folder(partial).bytes()), verification=growth.verification)
    (partial / "growth.json").write_text(json.dumps(found.summary(), indent=2) + "\n")
    (partial / REQUEST).unlink()
    partial.rename(target)
    return found


def _grown(
    folder: Folder, sizes: Mapping[str, Size], options: WidthOptions, depth: DepthRequest
) -> tuple[Any, Any, Growth, dict[str, torch.Tensor]]:
    """The teacher from its files, the student with its config, the growth, and the inputs that it is proved on."""
    model_class: Any = folder.model_class
    try:
        teacher, loading = model_class.from_pretrained(
            folder.path, dtype="auto", local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # whatever a class says no with
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{model_class.__name__} can't be loaded from {folder.path}: {reason}") from error
    for problem in ("missing_keys", "mismatched_keys"):
        if loading.get(problem):
            raise CheckpointError(
                f"the files don't fit {model_class.__name__}: {problem} {sorted(loading[problem])[:3]}."
            )
    teacher.eval()
    config = new_config(folder.config, sizes)
    check_saves(config)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            student = model_class(config).to(teacher.dtype).eval()
    except Exception as error:  # whatever a constructor says no with
        raise CheckpointError(f"{model_class.__name__} can't be constructed at these sizes: {error}.") from error
    inputs = from_config(model_class, folder.config, options.seed)
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
    attributes = {**(growth.plan.earlier.attributes if growth.plan.earlier else {}), **growth.plan.attributes}
    for key, value in eps_changes(teacher, _before(teacher, attributes)).items():
        set_key(student.config, key, value)
    return teacher, student, growth, inputs


def _before(teacher: Any, attributes: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The attributes of modules that the teacher has too: new blocks follow them."""
    paths = dict(teacher.named_modules())
    return {path: dict(values) for path, values in attributes.items() if path in paths}
