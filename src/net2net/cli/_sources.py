"""Where a network comes from: a factory in Python, or a Hugging Face folder."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors
import safetensors.torch
import torch
import typer
from torch import nn

from net2net.capture import Inputs
from net2net.cli._inputs import parse
from net2net.growth import Growth
from net2net.huggingface import from_config, open_config
from net2net.operators import replay
from net2net.plan import Plan

# What a grown Python source leaves in its folder.
STUDENT_FILE, PLAN_FILE = "student.safetensors", "plan.safetensors"


@dataclass(frozen=True)
class Source:
    """A network and how to get inputs for it; `folder` is its Hugging Face folder, if it has one."""

    model: nn.Module
    make_inputs: Callable[[], Inputs]
    folder: Path | None = None


def example_inputs(source: Source) -> Inputs:
    """The inputs: those of the command line, else those that come with the source."""
    return source.make_inputs()


def is_pretrained(source: str) -> bool:
    """Whether a source is a Hugging Face folder."""
    return (Path(source) / "config.json").is_file()


def is_grown(source: str) -> bool:
    """Whether a source is a folder that `net2net grow` made of a Python source: a plan and weights."""
    return (Path(source) / PLAN_FILE).is_file()


def load_grown(folder: Path, teacher: nn.Module, inputs: Inputs, weights: Path | None = None) -> Growth:
    """The growth in a folder of `net2net grow`: what its plan makes of the teacher, with the weights that lie there.

    Raises:
        GrowthError: the plan was made for another network.
    """
    growth = replay(Plan.load(folder / PLAN_FILE), teacher, inputs)
    _load_weights(growth.student, weights or folder / STUDENT_FILE)
    return growth


def require_folder(source: str, what: str) -> None:
    """Raise if a source is no Hugging Face folder; the message says what it is instead.

    Raises:
        BadParameter: it is none.
    """
    if is_pretrained(source):
        return
    if ":" in source and not Path(source).exists():
        raise _bad(f"{source} is a Python source; {what} are for a Hugging Face folder.")
    raise _bad(f"{_missing(source)} ({what} are for a Hugging Face folder.)")


def _missing(source: str) -> str:
    """Why a source without a factory is nothing that can be loaded."""
    path = Path(source)
    if path.is_dir():
        return f"the folder {source} has no config.json: it is not a Hugging Face folder."
    if path.exists():
        return f"{source} is a file; name what makes the model in it: {source}:FACTORY."
    return f"there is no folder {source}."


def load(
    source: str, specs: list[str] | None = None, weights: Path | None = None, *, seed: int, meta: bool = False
) -> Source:
    """The network that a SOURCE means; with `meta`, a Hugging Face one without its weights."""
    if is_pretrained(source):
        if weights:
            raise typer.BadParameter("a Hugging Face folder has its own weights.", param_hint="--weights")
        return _pretrained(Path(source), specs, seed, meta)
    return _python(source, specs, weights, seed)


def _python(source: str, specs: list[str] | None, weights: Path | None, seed: int) -> Source:
    place, separator, name = source.rpartition(":")
    if not (separator and place and name):
        if is_grown(source):
            raise _bad(f"{source} holds weights and a plan, but no class: docs/loading.md says how a factory loads it.")
        raise _bad(f"{_missing(source)} A source is FILE.py:FACTORY, MODULE:FACTORY or a Hugging Face folder.")
    module = module_of(place)
    factory = getattr(module, name, None)
    if not callable(factory):
        raise _bad(f"{place} has no function or class {name!r}.")
    torch.manual_seed(seed)
    model = called(factory, source)
    if not isinstance(model, nn.Module):
        raise _bad(f"{source} returned a {type(model).__name__}, not a torch.nn.Module.")
    if weights:
        _load_weights(model, weights)

    def inputs() -> Inputs:
        if specs:
            return parse(specs, seed)
        maker = getattr(module, "example_inputs", None)
        if maker is None:
            raise typer.BadParameter(
                f"give the model's inputs, such as --input 2x3x32x32, or define example_inputs() in {place}.",
                param_hint="--input",
            )
        torch.manual_seed(seed)
        made: Inputs = called(maker, f"{place}:example_inputs")
        return made

    return Source(model, inputs)


def module_of(place: str) -> ModuleType:
    """The module of a file, whose folder can be imported from as if it had been run, or of a dotted name."""
    path = Path(place)
    if path.suffix != ".py" and path.name != place:  # a path, and no dotted name of a module
        kind = "a folder" if path.is_dir() else "a file whose name doesn't end in .py" if path.exists() else None
        raise _bad(f"there is no file {place}." if kind is None else f"{place} is {kind}; name a file of Python.")
    if path.suffix != ".py":
        sys.path.insert(0, os.getcwd())
        try:
            found: ModuleType = _run(lambda: importlib.import_module(place), place)
            return found
        except ModuleNotFoundError as error:
            raise _bad(f"no module {place!r} can be imported: {error}.") from error
    file = Path(place).resolve()
    if not file.is_file():
        raise _bad(f"there is no file {place}.")
    sys.path.insert(0, str(file.parent))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    loader = spec.loader
    _run(lambda: loader.exec_module(module), place)
    return module


def called(function: Callable[..., Any], name: str) -> Any:
    try:
        inspect.signature(function).bind()
    except TypeError as error:
        raise _bad(f"{name} can't be called without arguments: {error}.") from error
    return _run(function, name)


def _run(function: Callable[[], Any], name: str) -> Any:
    """Call the user's code; what it raises becomes one line that names the file and the line."""
    try:
        return function()
    except (Exception, SystemExit) as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name is not None
            and f"{name}.".startswith(f"{error.name}.")
        ):
            raise  # the module itself isn't there
        reason = error.msg if isinstance(error, SyntaxError) else "".join(str(error).splitlines()[:1])
        what = ": ".join(filter(None, (type(error).__name__, reason)))
        raise _bad(f"{name} fails at {_where(error)}: {what}") from error


def _where(error: BaseException) -> str:
    """The file and the line of the user's code where something was raised, not those of a library that it calls."""
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)[1:]
    installed = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib"))
    own = [f for f in frames if not f.filename.startswith(("<", *installed, str(Path(__file__).parents[1])))]
    frame = (own or frames)[-1]
    return f"{frame.filename}, line {frame.lineno}"


def _load_weights(model: nn.Module, weights: Path) -> None:
    try:
        safetensors.torch.load_model(model, weights)
    except (RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise typer.BadParameter(f"{weights} doesn't fit the model: {error}", param_hint="--weights") from error


def _pretrained(folder: Path, specs: list[str] | None, seed: int, meta: bool) -> Source:
    config, model_class = open_config(folder)
    import transformers

    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # transformers' has no types
    if meta:
        with torch.device("meta"):
            model = model_class._from_config(config)
    else:
        try:
            model = model_class.from_pretrained(folder, dtype="auto", local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise _bad(f"{folder} has no weights that can be loaded: {error}") from error
    return Source(model.eval(), lambda: parse(specs, seed) if specs else from_config(model_class, config, seed), folder)


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="SOURCE")
