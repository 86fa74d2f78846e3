"""`net2net chain`: a family of models from a file, trained smallest first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from net2net.cli import _render as render


def chain(
    file: Annotated[
        Path, typer.Argument(metavar="CHAIN.yaml", help="Models, data and budgets; docs/chain.md says what it holds.")
    ],
    output: Annotated[Path, typer.Option(help="The folder for models, ledger and report.")] = Path("chain"),
    check: Annotated[bool, typer.Option("--check", help="Print what it would cost and which links are exact.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a family of Hugging Face models smallest first, each from the one before it.

    An interrupted run goes on when the same command is given again. Writes
    models/NAME.safetensors, ledger.json and report.html. With --check the exit
    code is 0 only if every link can be made.
    """
    from net2net.experiments import read_chain

    with render.working("reading"):
        found = read_chain(file)
    if check:
        with render.working("planning"):
            forecast = found.chain.check(dict(found.batch))
        typer.echo(json.dumps(forecast.summary(), indent=2) if as_json else str(forecast))
        if any(model.link == "refused" for model in forecast.models):
            raise typer.Exit(1)
        return
    result = found.chain.run(found.train, output)
    result.report(output / "report.html", found.metric)
    typer.echo(json.dumps(result.ledger.as_json(), indent=2) if as_json else str(result.ledger))
    if not as_json:
        render.say(f"open {output / 'report.html'}")
