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
from net2net.growth import Growth
from net2net.huggingface import save_growth
from net2net.operators import grow

Result = tuple[Growth, dict[str, Any]]


def grow_python(source: Source, folder: Path, target: Path, asked: dict[str, Any]) -> Result:
    """Grow the model of a Python source; the folder gets student.safetensors, plan.safetensors and growth.json."""

    def save(growth: Growth) -> dict[str, Any]:
        safetensors.torch.save_model(growth.student, str(folder / STUDENT_FILE))
        growth.plan.save(folder / PLAN_FILE)
        return {"version": __version__, **growth.summary()}

    return _grow(source, folder, asked, save)


def grow_pretrained(source: Source, folder: Path, target: Path, asked: dict[str, Any]) -> Result:
    """Grow a Hugging Face model in memory; the folder becomes one that from_pretrained loads."""
    home = source.folder
    assert home is not None
    return _grow(source, folder, asked, lambda growth: save_growth(growth, home, folder, target).summary())


def _grow(source: Source, folder: Path, asked: dict[str, Any], save: Callable[[Growth], dict[str, Any]]) -> Result:
    with render.working("growing and verifying"):
        growth = grow(source.model, example_inputs(source), **asked)
    with render.working("writing"):
        try:
            summary = save(growth)
            (folder / "growth.json").write_text(json.dumps(summary, indent=2) + "\n")
        except (OSError, safetensors.SafetensorError) as error:
            raise _bad_target(f"the student was grown and verified, but it can't be written: {error}.") from error
    return growth, summary


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
