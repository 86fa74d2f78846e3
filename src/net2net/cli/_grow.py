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
from net2net.cli._checkpoint import words_beside
from net2net.cli._request import Request, nothing_without
from net2net.cli._sources import PLAN_FILE, STUDENT_FILE, Source, example_inputs, load
from net2net.errors import UnknownNameError
from net2net.growth import Growth
from net2net.huggingface import save_growth
from net2net.operators import grow


def grow_model(source: str, target: Path, request: Request, quiet: bool) -> dict[str, Any]:
    """Grow a model in memory and write its folder, show it unless `quiet`, and give back the summary."""
    if request.streamed:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in request.streamed)
        raise typer.BadParameter(f"{names}: only where every --set is a word of a Hugging Face config.")
    nothing_without(f"--deepen, --deepen-all or a number of layers.{words_beside(source)}", request.in_vain)

    def grown(loaded: Source) -> Growth:
        try:
            return grow(loaded.model, example_inputs(loaded), **request.asked, seed=request.seed)
        except UnknownNameError as error:
            raise UnknownNameError(f"{error}{words_beside(source)}") from error

    return written(target, lambda: load(source, request.inputs, request.weights, seed=request.seed), grown, quiet)[0]


def written(
    target: Path, loading: Callable[[], Source], make: Callable[[Source], Growth], quiet: bool
) -> tuple[dict[str, Any], Growth]:
    """Load a model, make a growth of it and write its folder, show it unless `quiet`; the summary, and the growth."""
    with whole_folder(target) as folder:
        loaded = loading()
        with render.working("growing and verifying"):
            growth = make(loaded)
        with render.working("writing"):
            try:
                summary = _write(growth, loaded, folder, target)
                (folder / "growth.json").write_text(json.dumps(summary, indent=2) + "\n")
            except (OSError, safetensors.SafetensorError) as error:
                raise _bad_target(f"the student was grown and verified, but it can't be written: {error}.") from error
    if not quiet:
        render.growth(growth)
        render.say(f"written to {target}")
    return summary, growth


def _write(growth: Growth, source: Source, folder: Path, target: Path) -> dict[str, Any]:
    """Write a folder that from_pretrained loads, or the weights and the plan of a model in Python."""
    if source.folder is not None:
        return save_growth(growth, source.folder, folder, target).summary()
    safetensors.torch.save_model(growth.student, str(folder / STUDENT_FILE))
    growth.plan.save(folder / PLAN_FILE)
    return {"version": __version__, **growth.summary()}


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
