"""`net2net surgery`: a network goes on with other inputs and outputs; `net2net log`: the surgeries so far."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from net2net.cli import _render as render
from net2net.cli._features import Said, start_of_all, wanted
from net2net.cli._grow import written
from net2net.cli._inputs import parse
from net2net.cli._request import nothing_without
from net2net.cli._sources import Source, example_inputs, load, require_folder
from net2net.growth import Growth, read_log
from net2net.huggingface import CheckpointGrowth, local_folder, surgery_checkpoint
from net2net.surgeries import surgery as operate

Several = list[str] | None


def surgery(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="FILE.py:FACTORY or MODULE:FACTORY, or a Hugging Face folder, or the name of a model on its hub.",
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write; it must not exist.")],
    tokens: Annotated[
        int | None, typer.Option(min=1, help="Of a Hugging Face folder: how many there will be, old and new.")
    ] = None,
    label: Annotated[
        Several, typer.Option(metavar="NAME", help="Of a Hugging Face folder: a new class. May be repeated.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(min=1, help="Of a Hugging Face folder: how many its images will have.")
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="How new rows of a folder's embedding begin: mean (the default), zero, random or copy:17."),
    ] = None,
    features: Annotated[
        Several,
        typer.Option(
            metavar="NAME=BEFORE:AFTER",
            help="Of an input, by its name or position in forward: names (obs=x,v:x,angle,v) or counts (obs=2:3). May "
            "be repeated.",
        ),
    ] = None,
    outputs: Annotated[
        Several, typer.Option(metavar="NAME=BEFORE:AFTER", help="The same of an output; a single one is called output.")
    ] = None,
    start: Annotated[
        Several,
        typer.Option(
            metavar="[NAME=]HOW",
            help="How new entries of an output begin: never, lowest, zero, mean, copy:OTHER or a number, the bias. "
            "Without NAME= of a folder's tokens or labels.",
        ),
    ] = None,
    constant: Annotated[
        Several,
        typer.Option(metavar="NAME:FEATURE=NUMBER", help="What a feature that goes has become. May be repeated."),
    ] = None,
    axis: Annotated[
        Several, typer.Option(metavar="NAME=NUMBER", help="Along which axis the features stand, if not the last.")
    ] = None,
    frames: Annotated[Several, typer.Option(metavar="NAME=NUMBER", help="How many frames of them stand there.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="Of a Hugging Face folder: a file in it with the optimizer's state; grows too.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan and check only; for tokens, labels and channels of a folder.")
    ] = False,
    max_shard_size: Annotated[str | None, typer.Option(help="Of a file of a Hugging Face folder, such as 5GB.")] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Add a line to a log of surgeries, such as surgeries.jsonl.")
    ] = None,
    step: Annotated[int | None, typer.Option(min=0, help="The training step, for the log.")] = None,
    input: Annotated[
        Several, typer.Option("--input", metavar="SPEC", help="An input of the model; as for grow.")
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(help="The weights for a Python source, as .safetensors.", dir_okay=False, exists=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random draw.")] = 0,
) -> None:
    """Give a network other inputs and outputs: what it knew it goes on computing. Exit code 0 only if that is proved.

    A Hugging Face folder gets tokens (--tokens 32008), classes (--label mixed)
    or image channels (--channels 4), streamed, whatever its size.

    A Python source with its --weights gets what --features and --outputs say,
    and TARGET is a folder like those of net2net grow. So does a Hugging Face
    folder, in memory.
    """
    source, here = str(local_folder(source)), "--features or --outputs"
    by_word = tokens is not None or bool(label) or channels is not None
    if by_word:
        require_folder(source, "--tokens, --label and --channels")
        if features or outputs:
            raise typer.BadParameter(f"give either --tokens, --label, --channels, or {here}.")
        in_vain: dict[str, Any] = {"constant": constant, "axis": axis, "frames": frames, "weights": weights}
    else:
        if not features and not outputs:
            raise typer.BadParameter(f"give {here}; or, of a Hugging Face folder, --tokens, --label or --channels.")
        here = "--tokens, --label or --channels"
        in_vain = {"rows": rows, "optimizer": optimizer, "dry-run": dry_run, "max-shard-size": max_shard_size}
    nothing_without(here, {name: value for name, value in in_vain.items() if value})
    if log is not None and not log.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder {log.parent}.", param_hint="--log")
    if step is not None and log is None:
        nothing_without("--log", {"step": step})
    growth: Growth | CheckpointGrowth
    if by_word:
        options: dict[str, Any] = {"tokens": tokens, "labels": label or (), "channels": channels, "rows": rows}
        options |= {"start": start_of_all(start or []), "max_shard_size": max_shard_size, "optimizer": optimizer}
        options |= {"example_inputs": parse(input, seed) if input else None}
        given = {name: value for name, value in options.items() if value is not None}
        with render.bytes_done("planning") as progress:
            growth = surgery_checkpoint(source, target, **given, dry_run=dry_run, seed=seed, progress=progress)
        summary = growth.summary()
        if not as_json:
            typer.echo(str(growth))
    else:
        inputs, results = wanted(
            Said(features or [], outputs or [], constant or [], start or [], axis or [], frames or [])
        )

        def operated(loaded: Source) -> Growth:
            return operate(loaded.model, example_inputs(loaded), features=inputs, outputs=results, seed=seed)

        summary, growth = written(target, lambda: load(source, input, weights, seed=seed), operated, as_json)
    if log is not None and not dry_run:
        growth.log(log, step=step)
    if as_json:
        typer.echo(json.dumps(summary, indent=2, allow_nan=False))


def log(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A log of surgeries and growths.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the lines as JSON.")] = False,
) -> None:
    """Show the surgeries and growths of a run: date, step, parameters before and after, change."""
    found = read_log(file)
    typer.echo(json.dumps([entry.summary() for entry in found.entries], indent=2) if as_json else str(found))
