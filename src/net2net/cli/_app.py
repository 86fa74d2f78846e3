"""The commands. A refusal is printed in red without a traceback: exit code 1; a wrong usage: 2."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from net2net._version import __version__
from net2net.analysis import analyze as analyze_model
from net2net.cli import _render as render
from net2net.cli._chain import chain
from net2net.cli._checkpoint import grow_folder, words_of_config
from net2net.cli._explore import explore
from net2net.cli._grow import grow_model
from net2net.cli._reproduce import reproduce
from net2net.cli._request import requested
from net2net.cli._sources import Source, example_inputs, is_pretrained, load
from net2net.cli._surgery import log, surgery
from net2net.cli._upcycle import upcycle
from net2net.cli._verify import compared
from net2net.errors import GrowthError
from net2net.huggingface import local_folder
from net2net.width import hows


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
        help="FILE.py:FACTORY or MODULE:FACTORY, where FACTORY() makes the model, or a Hugging Face folder, or "
        "the name of a model on its hub, OWNER/MODEL.",
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
SeedOption = Annotated[int, typer.Option("--seed", min=0, max=2**63 - 1, help="Seed of every random draw.")]


@app.command()
def analyze(
    source: SourceArgument,
    input: InputOption = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Show the dimensions of a network and its places to deepen: what can grow, how, and why not.

    A Hugging Face folder needs its config.json only; no weights are read.
    """
    source = str(local_folder(source, weights=False))
    with render.working("analysing"):
        analysis = analyze_model(*_pair(load(source, input, seed=seed, meta=True)))
    if as_json:
        _print_json({"version": __version__, "seed": seed, **analysis.summary()})
    else:
        render.dimensions(analysis)
        render.places(analysis)


@app.command()
def grow(
    source: SourceArgument,
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write; it must not exist.")],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=SIZE",
            help="Wider: a dimension, a module or a glob, and its new size (64) or factor (2x). May be repeated.",
        ),
    ] = None,
    all_: Annotated[
        str | None, typer.Option("--all", metavar="FACTOR", help="Wider: everything that can grow, such as 2x.")
    ] = None,
    deepen: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=COUNT",
            help="Deeper: a stack of blocks, a block, a layer or a glob, and how many more (2), a factor (2x), or, "
            "for a stack, the blocks after which new ones come (0,2). May be repeated.",
        ),
    ] = None,
    deepen_all: Annotated[
        str | None, typer.Option(metavar="FACTOR", help="Deeper: every stack, or every layer if there is none.")
    ] = None,
    how: Annotated[str | None, typer.Option(help=f"{', '.join(hows())}; by default what fits.")] = None,
    split: Annotated[bool, typer.Option("--split", help="Short for --how split: new units are copies.")] = False,
    shares: Annotated[
        str | None, typer.Option(help="Shares of the copies of a unit: uneven (the default) or even.")
    ] = None,
    noise: Annotated[str | None, typer.Option(help="Noise on copies: zero_sum (exact) or paper.")] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="New blocks: identity (the default) or zero-random, which keep the function; stack, interleave, "
            "middle, overlap or random, which don't."
        ),
    ] = None,
    positions: Annotated[
        str | None,
        typer.Option(
            help="Of new blocks: spread (the default), append, before_last, or the blocks after which they come, "
            "such as 0,2."
        ),
    ] = None,
    kernel: Annotated[str | None, typer.Option(help="Of identity convolutions: 3, 1x7, or 1x7,7x1 for a pair.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="A batch for the statistics of a new BatchNorm, as .safetensors: one tensor for each argument of "
            "the model's forward. Without it: the inputs.",
            dir_okay=False,
            exists=True,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Plan and check only; for words of a Hugging Face config.")
    ] = False,
    dtype: Annotated[str | None, typer.Option(help="Of the new weights; for words of a Hugging Face config.")] = None,
    max_shard_size: Annotated[
        str | None, typer.Option(help="Of a file, such as 5GB; for words of a Hugging Face config.")
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="A file in the folder with the optimizer's state, such as the Trainer's optimizer.pt: it grows too; "
            "for words of a Hugging Face config."
        ),
    ] = None,
    input: InputOption = None,
    weights: WeightsOption = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Make a network wider (--set, --all), deeper (--deepen, --deepen-all) or both.

    It is verified and written to a new folder: student.safetensors and
    plan.safetensors from a Python source (docs/loading.md says how another
    script loads them), a folder that from_pretrained loads from a Hugging
    Face one. growth.json beside it says what was done and measured.

    Both at once means deeper first, so that --set can name new layers too.

    Words of a Hugging Face config, such as --set hidden_size=2x --set num_hidden_layers=32, grow its folder
    in a stream, whatever its size; a run that was interrupted goes on where it was.
    """
    request = requested(
        {"pairs": set_, "factor": all_, "how": how, "split": split, "shares": shares, "noise": noise},
        {"pairs": deepen, "factor": deepen_all, "init": init, "positions": positions, "kernel": kernel}
        | {"calibration": calibration},
        {"dry_run": dry_run, "dtype": dtype, "max_shard_size": max_shard_size, "optimizer": optimizer},
        (input, weights, seed),
    )
    source = str(local_folder(source))
    sizes = words_of_config(source, request) if is_pretrained(source) else None
    if sizes is None:
        summary = grow_model(source, target, request, quiet=as_json)
    else:
        summary = grow_folder(source, target, sizes, request, quiet=as_json)
    if as_json:
        _print_json(summary)


@app.command()
def verify(
    teacher: SourceArgument,
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT",
            help="The other network; the same kinds of source, or a folder that net2net grow made from SOURCE.",
        ),
    ],
    input: InputOption = None,
    weights: WeightsOption = None,
    student_weights: Annotated[
        Path | None,
        typer.Option(
            help="The weights for a Python student, as .safetensors; for a folder of net2net grow its own by default.",
            dir_okay=False,
            exists=True,
        ),
    ] = None,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Measure whether two networks compute the same function; exit code 0 if they do.

    Hugging Face folders of more than 1 GiB, or of different dtypes, are compared layer by layer, and never are in
    memory as a whole. Rounding to the narrower dtype is allowed for.
    """
    teacher, student = (str(local_folder(source)) for source in (teacher, student))
    with render.working("loading and comparing"):
        verification = compared(teacher, student, input, weights, student_weights, seed)
    if as_json:
        _print_json(verification.summary())
    else:
        render.verification(verification)
    if not verification.passed:
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="The folder for the page, the figure and the students.")] = Path("demo"),
    seeds: Annotated[int, typer.Option(min=1, help="How many times each network is trained.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Training steps of each student.")] = 250,
    as_json: JsonOption = False,
    seed: SeedOption = 0,
) -> None:
    """Train a small network on digits, make it wider and deeper, and compare how both learn on.

    About two minutes; nothing is downloaded.
    """
    from net2net import demo as parts

    settings = parts.Settings(seeds=seeds, steps=steps, seed=seed)
    with render.progress("training the teacher", settings.teacher_steps) as tick:
        prepared = parts.prepare(settings, tick)
    if not as_json:
        render.dimensions(prepared.analysis)
        render.places(prepared.analysis)
    with render.progress("training the students", settings.arm_steps) as tick:
        arms = parts.compare(prepared, settings, tick)
    results = parts.write(output, prepared, arms, settings)
    if as_json:
        _print_json(results)
    else:
        render.arms(prepared, arms)
        render.say(f"open {output / 'report.html'}")


app.command()(explore)
app.command()(chain)
app.command()(upcycle)
app.command()(surgery)
app.command()(log)
app.command()(reproduce)


def _pair(source: Source) -> tuple[Any, Any]:
    return source.model, example_inputs(source)


def _print_json(content: Any) -> None:
    typer.echo(json.dumps(content, indent=2, allow_nan=False))
