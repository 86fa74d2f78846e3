"""`net2net grow`: grow, verify, and write a folder that is whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import safetensors.torch
import typer

from net2net.cli import _render as render
from net2net.cli._sources import Source, example_inputs
from net2net.cli._summary import growth_summary
from net2net.errors import VerificationError
from net2net.growing import grow
from net2net.growth import Growth
from net2net.huggingface import EXTRA_FILES
from net2net.verify import verify

Result = tuple[Growth, dict[str, Any]]


def grow_python(source: Source, target: Path, asked: dict[str, Any]) -> Result:
    """Grow the model of a Python source; TARGET gets student.safetensors and growth.json."""
    return _grow(source, target, asked, _save_weights)


def grow_pretrained(source: Source, target: Path, asked: dict[str, Any]) -> Result:
    """Grow a Hugging Face model in memory; TARGET is a folder that from_pretrained loads."""
    return _grow(source, target, asked, lambda growth, folder: _save_pretrained(source, growth, folder))


def _grow(source: Source, target: Path, asked: dict[str, Any], save: Callable[[Growth, Path], None]) -> Result:
    with render.working("growing and verifying"):
        growth = grow(source.model, example_inputs(source), **asked)
    summary = growth_summary(growth)
    with render.working("writing"), whole_folder(target) as folder:
        save(growth, folder)
        (folder / "growth.json").write_text(json.dumps(summary, indent=2) + "\n")
    return growth, summary


def _save_weights(growth: Growth, folder: Path) -> None:
    safetensors.torch.save_model(growth.student, str(folder / "student.safetensors"))


def _save_pretrained(source: Source, growth: Growth, folder: Path) -> None:
    assert source.folder is not None
    student: Any = growth.student
    student.save_pretrained(folder)
    for pattern in EXTRA_FILES:
        for file in source.folder.glob(pattern):
            if file.is_file() and not (folder / file.name).exists():
                shutil.copyfile(file, folder / file.name)
    loaded = type(student).from_pretrained(folder, dtype="auto", local_files_only=True)
    again = verify(student, loaded, example_inputs(source))
    if not again.passed:
        raise VerificationError(
            "the student was grown and verified, but its folder doesn't load as the same function: relative error "
            f"{again.max_relative_error:.1e}. Its config has no word for something that changed: "
            f"{sorted(growth.plan.attributes) or 'a size'}. Nothing is written."
        )


@contextlib.contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A new folder beside the target that becomes the target if all goes well, and is removed otherwise."""
    folder = target.absolute().with_name(f".{target.absolute().name}.partial-{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        yield folder
        try:
            folder.rename(target)
        except OSError as error:
            raise typer.BadParameter(f"{target} can't be written: {error}.", param_hint="TARGET") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
