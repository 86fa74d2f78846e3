"""`net2net grow` on a Hugging Face folder with words of its config: streamed from folder to folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from net2net.cli import _render as render
from net2net.cli._inputs import parse
from net2net.cli._request import STREAMED_DEPTH, Request
from net2net.cli._sources import is_pretrained
from net2net.errors import UnknownNameError
from net2net.huggingface import grow_checkpoint, new_config, open_folder, words

# What `--set` and the like ask for that a checkpoint can be grown by in a stream, and by what name.
_OPTIONS = ("how", "shares", "noise", *STREAMED_DEPTH)


def words_of_config(source: str, request: Request) -> dict[str, Any] | None:
    """The sizes, if all of them are words of the folder's config and nothing else is asked for.

    Raises:
        CheckpointError: the folder is damaged.
        UnknownNameError: a name is no word of the config, and has to be.
    """
    sizes = request.asked.get("sizes")
    if not isinstance(sizes, dict) or not set(request.asked) <= {"sizes", *_OPTIONS}:
        return None
    config = open_folder(source).config
    try:
        new_config(config, dict.fromkeys(sizes, "1x"))
    except UnknownNameError:
        if request.streamed:
            raise
        return None
    return sizes


def words_beside(source: str) -> str:
    """What `--set` may name in a Hugging Face folder beside dimensions and modules, for a message."""
    return f" Or words of its config. {words(open_folder(source).config)}" if is_pretrained(source) else ""


def grow_folder(source: str, target: Path, sizes: dict[str, Any], request: Request, quiet: bool) -> dict[str, Any]:
    """Grow the checkpoint, show it unless `quiet`, and give back the summary that is printed as JSON."""
    options = {name: value for name, value in request.asked.items() if name in _OPTIONS} | request.streamed
    if request.inputs:
        options["example_inputs"] = parse(request.inputs, request.seed)
    with render.bytes_done("planning") as progress:
        growth = grow_checkpoint(source, target, sizes, **options, seed=request.seed, progress=progress)
    if not quiet:
        typer.echo(str(growth))
    return growth.summary()
