"""What the options of `net2net surgery` say of inputs and outputs, as `Features`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import typer

from net2net.surgeries import Features

Wanted = dict[str | int, Features]


@dataclass(frozen=True)
class Said:
    """What was said of inputs and outputs, each as it stands on the command line."""

    features: list[str]
    outputs: list[str]
    constants: list[str]
    starts: list[str]
    axes: list[str]
    frames: list[str]


def wanted(said: Said) -> tuple[Wanted, Wanted]:
    """The features of inputs and the entries of outputs that are asked for.

    Example:
        >>> wanted(Said(["obs=x,v:x,angle,v"], ["0=2:3"], [], ["0=never"], [], []))[0]["obs"].new
        ['x', 'angle', 'v']
    """
    inputs, outputs = (dict(_pair(text, option, "NAME=BEFORE:AFTER") for text in texts) for texts, option in (
        (said.features, "--features"), (said.outputs, "--outputs")))  # fmt: skip
    constants: dict[str, dict[str, float]] = {}
    for text in said.constants:
        place, value = _pair(text, "--constant", "NAME:FEATURE=NUMBER")
        name, _, feature = place.partition(":")
        constants.setdefault(name, {})[feature] = _float(value, "--constant")
    starts = dict(_pair(text, "--start", "NAME=HOW") for text in said.starts)
    axes, frames = (
        {name: _int(value, option) for name, value in (_pair(text, option, "NAME=NUMBER") for text in texts)}
        for texts, option in ((said.axes, "--axis"), (said.frames, "--frames"))
    )
    ends = {**inputs, **outputs}
    for option, names in (("--constant", constants), ("--start", starts), ("--axis", axes), ("--frames", frames)):
        odd = [name for name in names if name not in ends]
        if odd:
            raise typer.BadParameter(f"{odd[0]!r} is in no --features and no --outputs.", param_hint=option)

    def made(asked: Mapping[str, str], option: str) -> Wanted:
        found: Wanted = {}
        for name, text in asked.items():
            before, separator, after = text.partition(":")
            if not (separator and before and after):
                raise typer.BadParameter(f"{text!r} is not BEFORE:AFTER.", param_hint=option)
            start = starts.get(name)
            found[int(name) if name.isdigit() else name] = Features(
                _names(before),
                _names(after),
                constants.get(name, {}),
                start if start is None or not _is_number(start) else float(start),
                axes.get(name, -1),
                frames.get(name, 1),
            )
        return found

    return made(inputs, "--features"), made(outputs, "--outputs")


def start_of_all(starts: list[str]) -> str | float | None:
    """How new tokens or labels of a folder begin: one word or number for all."""
    if len(starts) > 1:
        raise typer.BadParameter("give it once for a folder.", param_hint="--start")
    return None if not starts else float(starts[0]) if _is_number(starts[0]) else starts[0]


def _names(text: str) -> int | list[str]:
    return int(text) if text.isdigit() else text.split(",")


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (separator and name and value):
        raise typer.BadParameter(f"{text!r} is not {form}.", param_hint=option)
    return name, value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _float(text: str, option: str) -> float:
    if not _is_number(text):
        raise typer.BadParameter(f"{text!r} is no number.", param_hint=option)
    return float(text)


def _int(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no whole number.", param_hint=option) from None
