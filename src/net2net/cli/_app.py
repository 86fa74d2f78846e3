"""The commands. A refusal is printed in red without a traceback: exit code 1; a wrong usage: 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from net2net.cli import _render as render
from net2net.cli._grow import grow_pretrained, grow_python
from net2net.cli._sources import Source, example_inputs, is_pretrained, load
from net2net.cli._summary import analysis_summary, verification_summary
from net2net.dimensions import analyze as analyze_model
from net2net.errors import GrowthError, StudentMismatchError
from net2net.request import Request
from net2net.verify import verify as verify_models


class _Commands(TyperGroup):
    """The group of commands; it turns a refusal into a message."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except GrowthError as error:
            render.refuse(error)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Make a trained neural network bigger without changing what it computes.",
)

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="FILE.py:FACTORY or MODULE:FACTORY, where FACTORY() makes the model, or a Hugging Face folder.",
    ),
]
InputOption = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SPEC",
        help="An input of the model: [NAME=]SHAPE[:DTYPE[:BELOW]], such as 2x3x32x32 or ids=2x7:int64:37. "
        "May be repeated. Without it: example_inputs() beside the factory, or what the config says.",
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option("--weights", help="The weights for a Python source, as .safetensors.", dir_okay=False, exists=True),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of every random draw.")]


@app.command()
def analyze(
    source: SourceArgument,
    input: InputOption = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Show the dimensions of a network: what can grow, how, and why not.

    A Hugging Face folder needs its config.json only; no weights are read.
    """
    with render.working("analysing"):
        analysis = analyze_model(*_pair(load(source, input, seed=seed, meta=True)))
    if as_json:
        _print_json(analysis_summary(analysis, seed))
    else:
        render.dimensions(analysis)


@app.command()
def grow(
    source: SourceArgument,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write; it must not exist.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=SIZE",
            help="A dimension, a module or a glob, and its new size (64) or factor (2x). May be repeated.",
        ),
    ] = None,
    all_: Annotated[
        str | None, typer.Option("--all", metavar="FACTOR", help="Grow everything that can grow, such as 2x.")
    ] = None,
    how: Annotated[str | None, typer.Option(help="zero_out, split, pair or random_pad; by default what fits.")] = None,
    shares: Annotated[str, typer.Option(help="Shares of the copies of a unit: uneven or even.")] = "uneven",
    noise: Annotated[str | None, typer.Option(help="Noise on copies: zero_sum (exact) or paper.")] = None,
    input: InputOption = None,
    weights: WeightsOption = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Make a network wider, verify the result and write it to a new folder.

    From a Python source: student.safetensors; from a Hugging Face folder: one that from_pretrained loads.
    Beside them growth.json says what was done and measured.
    """
    sizes = _request(set_, all_)
    if target.exists():
        raise typer.BadParameter(f"{target} exists already; name a new folder.", param_hint="TARGET")
    options: dict[str, Any] = {"how": how, "shares": shares, "noise": noise, "seed": seed}
    write = grow_pretrained if is_pretrained(source) else grow_python
    growth, summary = write(load(source, input, weights, seed=seed), target, sizes, options)
    if as_json:
        _print_json(summary)
    else:
        render.growth(growth)
        render.say(f"written to {target}")


@app.command()
def verify(
    teacher: SourceArgument,
    student: Annotated[str, typer.Argument(metavar="STUDENT", help="The other network; the same kinds of source.")],
    input: InputOption = None,
    weights: WeightsOption = None,
    student_weights: Annotated[
        Path | None,
        typer.Option(help="The weights for a Python student, as .safetensors.", dir_okay=False, exists=True),
    ] = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Measure whether two networks compute the same function; exit code 0 if they do."""
    with render.working("loading and comparing"):
        model, inputs = _pair(load(teacher, input, weights, seed=seed))
        other = load(student, None, student_weights, seed=seed).model
        try:
            verification = verify_models(model, other, inputs)
        except (RuntimeError, TypeError, ValueError) as error:
            reason = str(error).strip().splitlines()[:1]
            raise StudentMismatchError(f"the two networks don't run on the same inputs: {''.join(reason)}") from error
    if as_json:
        _print_json(verification_summary(verification))
    else:
        render.verification(verification)
    if not verification.passed:
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder for the page, the figure and the student.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="How many times each network is trained.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each student.")] = 250,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train a small network on digits, make it wider and compare how it learns on: two minutes, no download."""
    from net2net import demo as parts

    settings = parts.Settings(seeds=seeds, steps=steps, seed=seed)
    with render.progress("training the teacher", settings.teacher_steps) as tick:
        prepared = parts.prepare(settings, tick)
    if not as_json:
        render.dimensions(prepared.analysis)
        render.growth(prepared.growth)
    with render.progress("training the students", settings.arm_steps) as tick:
        arms = parts.compare(prepared, settings, tick)
    results = parts.write(output, prepared, arms, settings)
    if as_json:
        _print_json(results)
    else:
        render.arms(prepared, arms)
        render.say(f"open {output / 'report.html'}")


def _pair(source: Source) -> tuple[Any, Any]:
    return source.model, example_inputs(source)


def _request(pairs: list[str] | None, factor: str | None) -> Request:
    """The sizes that --set or --all ask for."""
    if bool(pairs) == bool(factor):
        raise typer.BadParameter("give either --set NAME=SIZE, as often as needed, or --all FACTOR.")
    if factor:
        if not factor.strip().lower().endswith("x"):
            raise typer.BadParameter(f"{factor!r} is no factor; write 2x or 1.5x.", param_hint="--all")
        return factor
    sizes = {}
    for pair in pairs or []:
        name, separator, size = pair.rpartition("=")
        if not (separator and name and size):
            raise typer.BadParameter(f"{pair!r} is not NAME=SIZE, such as fc1=64 or fc1=2x.", param_hint="--set")
        sizes[name] = size
    return sizes


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))
