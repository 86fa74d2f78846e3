"""`net2net explore`: a search on the command line, by one worker or several."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from net2net.cli._sources import called, module_of

if TYPE_CHECKING:
    from net2net.exploration import Exploration, Tried

# What a file of a search may define beside teacher(), example_inputs() and train(model, optimizer, trial).
_OPTIONS = ("space", "limits", "direction", "objectives", "ramp", "sampler", "pruner", "keep", "inherit")


def explore(
    file: Annotated[
        str,
        typer.Argument(
            metavar="SPACE.py",
            help="Defines teacher(), example_inputs() and train(model, optimizer, trial) -> score; and, if wanted, "
            f"optimizer(model), {', '.join(_OPTIONS)}.",
        ),
    ],
    trials: Annotated[int, typer.Option(min=0, help="How many are to be trained, in all calls together.")] = 30,
    storage: Annotated[
        str | None,
        typer.Option(help="sqlite:///FILE, another database's URL or journal:FILE; by default study.db in the folder."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="For the networks and the report.")] = Path("exploration"),
    name: Annotated[str, typer.Option(help="Of the study in its storage.")] = "growths",
    workers: Annotated[int, typer.Option(min=1, help="Processes that train at the same time.")] = 1,
    baselines: Annotated[
        int, typer.Option(min=0, help="Of how many of the best to run random twins, and the teacher trained on.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="All draws follow it.")] = 0,
) -> None:
    """Search over growths from one teacher: every trial is grown from the best network before it, and trained on.

    Give the same command again to go on, on other machines too where the storage and the folder are shared.
    """
    write = _needed("write_report")
    options: dict[str, Any] = {"storage": storage, "folder": folder, "name": name, "seed": seed}
    with _bar() as tell:
        if workers > 1:
            found = _by_several(file, trials, options, workers, tell)
        else:
            found = searched(file, trials, options, tell)
        found.run_baselines(baselines)
    page = write(found, folder / "report.html")
    if as_json:
        best = found.best
        content = {"best": asdict(best.trial), "score": best.score, "growths": best.growths, "folder": str(best.folder)}
        content |= {"trials": [asdict(t) for t in found.trials], "baselines": [asdict(b) for b in found.baselines]}
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        Console().print(Text(str(found)), soft_wrap=True)
        Console().print(Text(f"open {page}"), soft_wrap=True)


def searched(file: str, trials: int, options: dict[str, Any], tell: Callable[..., None] | None = None) -> Exploration:
    """The search of a file, until it has so many trials."""
    search = _needed("explore")
    module = module_of(file)
    for need in ("teacher", "example_inputs", "train"):
        if not callable(getattr(module, need, None)):
            raise typer.BadParameter(f"{file} defines no function {need}().", param_hint="SPACE.py")
    torch.manual_seed(options["seed"])
    teacher = called(module.teacher, f"{file}:teacher")
    inputs = called(module.example_inputs, f"{file}:example_inputs")
    own = {key: getattr(module, key) for key in _OPTIONS if hasattr(module, key)}
    if hasattr(module, "optimizer"):
        own["optimizer"] = module.optimizer(teacher)
    found: Exploration = search(teacher, inputs, module.train, trials=trials, progress=tell, **own, **options)
    return found


def _needed(name: str) -> Any:
    """A function of the room that needs an extra."""
    import net2net.exploration

    return getattr(net2net.exploration, name)


def _by_several(
    file: str, trials: int, options: dict[str, Any], workers: int, tell: Callable[..., None]
) -> Exploration:
    """The same by several processes; one that is killed is started again."""
    found = searched(file, 0, options)  # makes the study, and says here what is wrong
    context = multiprocessing.get_context("spawn")
    threads = max(1, (os.cpu_count() or 1) // workers)

    def started() -> Any:
        process = context.Process(target=_worker, args=(file, trials, options, threads))
        process.start()
        return process

    running = [started() for _ in range(workers)]
    spare = trials + workers
    try:
        while running:
            time.sleep(0.5)
            tell(found.search.trials(), trials)
            ended = [p for p in running if not p.is_alive()]
            for process in ended:
                running.remove(process)
                if process.exitcode and spare:
                    spare -= 1
                    running.append(started())
    finally:
        for process in running:
            process.terminate()
    return searched(file, 0, options)


def _worker(file: str, trials: int, options: dict[str, Any], threads: int) -> None:
    torch.set_num_threads(threads)
    searched(file, trials, options)


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[Sequence[Tried], int], None]]:
    """How many trials are done, and the best score, on stderr; nothing in a pipe."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("exploring", total=None)

        def tell(trials: Sequence[Tried], total: int) -> None:
            scores = [t.score for t in trials if t.score is not None]
            span = f", scores {min(scores):.4g} to {max(scores):.4g}" if scores else ""
            done = sum(t.counts for t in trials)
            bar.update(task, completed=done, total=total, description=f"exploring{span}")

        yield tell
