"""`net2net reproduce`: the experiments on the command line."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from net2net.experiments import Summary


def reproduce(
    experiment: Annotated[
        str,
        typer.Argument(
            help="wider, deeper or explore (the paper's), language, late-depth, late-width, chain, "
            "chain-towers, experts, nexus, search or surgery."
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            help="A folder with images (MNIST's files, CIFAR's binary files, .npz), or a text file or a folder of "
            "them. By default scikit-learn's digits, or the reference of the Python language."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The folder for results and report; by default reproduced/EXPERIMENT.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many times each arm is run.")] = 3,
    budget: Annotated[
        str, typer.Option(help="smoke (seconds; shows nothing), cpu (under an hour on 2 cores) or gpu.")
    ] = "cpu",
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps from scratch, instead of the budget's.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Networks trained at a time; by default all cores.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="All seeds follow it.")] = 0,
) -> None:
    """Repeat an experiment of the Net2Net paper, or one on language: every arm at its own learning rate, several seeds.

    An interrupted run goes on when the same command is given again. Writes results.jsonl, report.html and figures.
    """
    from net2net import experiments

    folder = output or Path("reproduced") / experiment
    workers = workers or (1 if device != "cpu" else os.cpu_count() or 1)
    if experiment in experiments.STUDIES:
        order = experiments.Order(folder, data, tuple(range(seed + 1, seed + 1 + seeds)), budget, steps, device)
        with _progress(experiment) as tell:
            outcome = experiments.STUDIES[experiment](replace(order, progress=tell))
        typer.echo(json.dumps(outcome.as_json(), indent=2, allow_nan=False) if as_json else outcome.text())
        return
    with _progress(experiment) as tell:
        results = experiments.reproduce(
            experiment,
            folder,
            data,
            seeds=seeds,
            budget=budget,
            steps=steps,
            workers=workers,
            device=device,
            seed=seed,
            progress=tell,
        )
    summary = experiments.write_report(results, folder)
    if as_json:
        typer.echo(json.dumps(summary.as_json(), indent=2, allow_nan=False))
    else:
        _show(summary)
        Console().print(Text(f"open {folder / 'report.html'}"), soft_wrap=True)


def _show(summary: Summary) -> None:
    from net2net.experiments import cells, findings

    console = Console()
    for group in summary.groups:
        headers, rows = cells(group, summary)
        shown = [0, *range(len(headers) - 4, len(headers))]  # the report has all columns
        table = Table(title=group.name, title_justify="left", box=None, header_style="bold")
        for i in shown:
            table.add_column(headers[i], justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(row[i]) for i in shown))
        console.print(table)
        for line in findings(group, summary.header.metric):
            console.print(Text(f"- {line}"))
        console.print()


@contextlib.contextmanager
def _progress(experiment: str) -> Iterator[Callable[[float, float], None]]:
    """A bar on stderr with the time left, gone at the end; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("left:"),
        TimeRemainingColumn(elapsed_when_finished=False),
    )  # fmt: skip
    bar = Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal, speed_estimate_period=600
    )
    with bar:
        task = bar.add_task(f"training, {experiment}", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
