"""`net2net upcycle`: a Hugging Face folder with more experts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from net2net.cli import _render as render
from net2net.cli._inputs import parse
from net2net.huggingface import upcycle_checkpoint


def upcycle(
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A Hugging Face folder, or the name of a model on its hub.")
    ],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write; it must not exist.")],
    experts: Annotated[
        str,
        typer.Option(
            metavar="NUMBER", help="How many: a number (16), a factor (2x), or how often each is there (2,1,3,2)."
        ),
    ],
    routing: Annotated[
        str | None,
        typer.Option(
            help="replica (the default): exact, with the compute of before; raise_k: exact in its own class, with more "
            "compute; free: in its own class, approximate."
        ),
    ] = None,
    top_k: Annotated[int | None, typer.Option(help="Experts per token, where a dense model becomes a mixture.")] = None,
    to: Annotated[
        str | None, typer.Option(metavar="KIND", help="What a dense model becomes: mixtral, qwen2_moe, qwen3_moe.")
    ] = None,
    noise: Annotated[float, typer.Option(min=0, help="On the bias by which copies are chosen, with free routing.")] = (
        1e-3
    ),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Plan and check only.")] = False,
    max_shard_size: Annotated[str, typer.Option(help="Of a file, such as 5GB.")] = "5GB",
    input: Annotated[
        list[str] | None, typer.Option("--input", metavar="SPEC", help="An input of the model; as for grow.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of every random draw.")] = 0,
) -> None:
    """Give the mixtures of a Hugging Face folder more experts, or make a dense one a mixture (--top-k, --to).

    It is verified: exit code 0 only then.

    With raise_k and free the new folder is of the same class, streamed,
    whatever its size. With replica from_pretrained loads the first replica of
    each expert, and net2net.attach_replicas(model, TARGET) puts the others back.
    """
    options: dict[str, Any] = {} if not input else {"example_inputs": parse(input, seed)}
    options |= {
        "routing": routing,
        "top_k": top_k,
        "to": to,
        "noise": noise,
        "max_shard_size": max_shard_size,
        "dry_run": dry_run,
    }
    with render.bytes_done("planning") as progress:
        growth = upcycle_checkpoint(source, target, _number(experts), **options, seed=seed, progress=progress)
    if as_json:
        typer.echo(json.dumps(growth.summary(), indent=2, allow_nan=False))
    else:
        typer.echo(str(growth))


def _number(text: str) -> int | str | list[int]:
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(r"\d+(\.\d+)?x", text):
        return text
    if re.fullmatch(r"\d+(,\d+)+", text):
        return [int(count) for count in text.split(",")]
    raise typer.BadParameter(f"{text!r} is no number of experts; write 16, 2x or 2,1,3,2.", param_hint="--experts")
