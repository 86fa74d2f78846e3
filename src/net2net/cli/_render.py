"""What the commands show: tables and colours on stdout, progress and refusals on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from net2net.analysis import Analysis, dimension_rows, place_rows
from net2net.demo import Arms, Prepared
from net2net.errors import GrowthError
from net2net.growth import Growth
from net2net.proof import Verification

_COLOURS = {
    "any": "green",
    "experts": "green",
    "exact": "green",
    "multiple": "yellow",
    "copies": "yellow",
    "fixed": "dim",
}
_PROMISES = {"exact": "green", "approximate": "yellow", "none": "red"}


def say(text: str, style: str = "") -> None:
    """A line that is not wrapped, and in which nothing is taken for markup."""
    Console().print(Text(text, style), soft_wrap=True)


def refuse(error: GrowthError) -> None:
    """A refusal, in red on stderr."""
    Console(stderr=True).print(Text(str(error), "red"), soft_wrap=True)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner on stderr while something takes its time; nothing in a pipe."""
    console = Console(stderr=True)
    with console.status(f"{what} ...") if console.is_terminal else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr with the time left, gone at the end; nothing in a pipe. Gives what moves it on."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextlib.contextmanager
def bytes_done(first: str) -> Iterator[Callable[[str, int, int], None]]:
    """A bar on stderr that counts bytes; gives what is told (what is done, how much, of how much)."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(first, total=None)
        yield lambda what, done, total: bar.update(task, description=what, completed=done, total=total or None)


def dimensions(analysis: Analysis) -> None:
    """The table of dimensions; axes inside one tensor are only counted."""
    table = Table(title="Dimensions", title_justify="left", box=None, header_style="bold")
    table.add_column("dimension", overflow="fold")
    table.add_column("size", justify="right")
    table.add_column("tensors", justify="right")
    table.add_column("growth")
    table.add_column("why", style="dim")
    secondary = False
    shown, rest = dimension_rows([*analysis.dimensions.values(), *analysis.experts.values()])
    for d in shown:
        shares = not d.primary and d.growth != "fixed"
        secondary |= shares
        style = "dim" if d.growth == "fixed" else ""
        table.add_row(
            Text(d.name + (" *" if shares else "")),
            str(d.size),
            str(len(d.tensors)),
            Text(d.growth, _COLOURS[d.growth]),
            Text(d.reason),
            style=style,
        )
    Console().print(table)
    if secondary:
        say("* shares its axes with another dimension; grows only when named", "dim")
    if rest:
        say(rest, "dim")


def places(analysis: Analysis) -> None:
    """The table of places to deepen; what repeats in every block is shown once."""
    rows = place_rows(analysis.places.values())
    if not rows:
        return
    table = Table(title="\nPlaces to deepen", title_justify="left", box=None, header_style="bold")
    table.add_column("place", overflow="fold")
    table.add_column("kind")
    table.add_column("now", justify="right")
    table.add_column("growth")
    table.add_column("how, or why not", style="dim")
    for p in rows:
        growth = Text(p.growth, _COLOURS[p.growth])
        style = "dim" if p.growth == "fixed" else ""
        table.add_row(Text(p.name), p.kind, str(p.count), growth, Text(p.reason), style=style)
    Console().print(table)


def growth(growth: Growth) -> None:
    """The plan and the verification."""
    promise, _, rest = str(growth.plan).partition("\n")
    say("\nPlan", "italic")
    say(promise, _PROMISES[growth.plan.preserves])
    say(rest)
    verification(growth.verification)


def verification(verification: Verification) -> None:
    """What was measured, the verdict in colour."""
    colour = "green" if verification.passed and verification.preserves == "exact" else "yellow"
    say("\nVerification", "italic")
    for line in str(verification).splitlines():
        say(line, (colour if verification.passed else "red") if line.startswith(("passed", "FAILED")) else "")


def arms(prepared: Prepared, arms: Arms) -> None:
    """The demo's results."""
    from net2net.demo import EXPERIMENTS, spread

    say(f"\nTest accuracy (the teacher: {prepared.teacher_accuracy:.1%})", "italic")
    for key, some in arms.items():
        table = Table(title=f"\n{EXPERIMENTS[key].title}", title_justify="left", box=None)
        table.add_column("start")
        for header in ("error", "step 0", "at the end", "learning rate"):
            table.add_column(header, justify="right")
        for arm in some:
            error = "" if arm.relative_error is None else f"{arm.relative_error:.1e}"
            final = f"{arm.means[-1]:.1%} ± {100 * spread(arm.at(-1)):.1f}"
            table.add_row(arm.label, error, f"{arm.means[0]:.1%}", final, f"{arm.rate:g}")
        Console().print(table)
