"""`net2net grow`: grow, verify, and write a folder that is whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import typer

from net2net._version import __version__
from net2net.cli import _render as render
from net2net.cli._sources import PLAN_FILE, STUDENT_FILE, Source, example_inputs
from net2net.errors import VerificationError
from net2net.growth import Growth
from net2net.huggingface import EXTRA_FILES
from net2net.huggingface import PLAN_FILE as CHECKPOINT_PLAN_FILE
from net2net.operators import grow
from net2net.proof import verify

Result = tuple[Growth, dict[str, Any]]


def grow_python(source: Source, folder: Path, asked: dict[str, Any]) -> Result:
    """Grow the model of a Python source; the folder gets student.safetensors, plan.safetensors and growth.json."""
    return _grow(source, folder, asked, _save_weights)


def grow_pretrained(source: Source, folder: Path, asked: dict[str, Any]) -> Result:
    """Grow a Hugging Face model in memory; the folder becomes one that from_pretrained loads."""
    return _grow(source, folder, asked, lambda growth, folder: _save_pretrained(source, growth, folder))


def _grow(source: Source, folder: Path, asked: dict[str, Any], save: Callable[[Growth, Path], None]) -> Result:
    with render.working("growing and verifying"):
        growth = grow(source.model, example_inputs(source), **asked)
    summary = {"version": __version__, **growth.summary()}
    with render.working("writing"):
        try:
            save(growth, folder)
            (folder / "growth.json").write_text(json.dumps(summary, indent=2) + "\n")
        except (OSError, safetensors.SafetensorError) as error:
            raise _bad_target(f"the student was grown and verified, but it can't be written: {error}.") from error
    return growth, summary


def _save_weights(growth: Growth, folder: Path) -> None:
    safetensors.torch.save_model(growth.student, str(folder / STUDENT_FILE))
    growth.plan.save(folder / PLAN_FILE)


def _save_pretrained(source: Source, growth: Growth, folder: Path) -> None:
    assert source.folder is not None
    student: Any = growth.student
    student.save_pretrained(folder)
    growth.plan.save(folder / CHECKPOINT_PLAN_FILE)
    for pattern in EXTRA_FILES:
        for file in source.folder.glob(pattern):
            if file.is_file() and not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
    loaded = type(student).from_pretrained(folder, dtype="auto", local_files_only=True)
    again = verify(student, loaded, example_inputs(source))
    if not again.passed:
        raise VerificationError(
            "the student was grown and verified, but its folder doesn't load as the same function: relative error "
            f"{again.max_relative_error:.1e}. Its config cannot express something that changed: "
            f"{sorted(growth.plan.attributes) or 'a size'}. Nothing is written."
        )


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target that becomes the target if all goes well, and is removed otherwise.

    Raises:
        BadParameter: nothing can be written there. This is found before anything else is done.
    """
    if os.path.lexists(target):
        raise _bad_target(f"{target} exists already; name a new folder.")
    folder = target.absolute().with_name(f".{target.absolute().name}.partial-{os.getpid()}")
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise _bad_target(f"{target} can't be written: {error.strerror}.") from error
        yield folder
        try:
            folder.rename(target)
        except OSError as error:
            raise _bad_target(f"{target} can't be written: {error.strerror}.") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in made:
            with contextlib.suppress(OSError):  # not there, or no longer empty
                parent.rmdir()
        raise


def _bad_target(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="TARGET")
