"""What the options of `net2net grow` ask for, as arguments of `net2net.grow`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import typer

from net2net.depth import INITS, POSITIONS

# What a request for depth by a word of a config may say beside the number of layers.
STREAMED_DEPTH = ("init", "positions")
_FACTOR = r"\d+(\.\d+)?x"
_BLOCKS = r"-?\d+(,-?\d+)*"  # -1 is the place before the first


@dataclass(frozen=True)
class Request:
    """What is asked of `net2net grow`: arguments of `net2net.grow`, those that only `grow_checkpoint` has, and the
    specifications of inputs."""

    asked: dict[str, Any]
    streamed: dict[str, Any]
    inputs: list[str] | None
    weights: Path | None
    seed: int

    @property
    def in_vain(self) -> dict[str, Any]:
        """What is said of new layers where none are named: a word of a config may name them."""
        return {} if "where" in self.asked else {n: v for n, v in self.asked.items() if n in STREAMED_DEPTH}


def requested(
    wider: dict[str, Any], deeper: dict[str, Any], streamed: dict[str, Any], given: tuple[Any, Any, int]
) -> Request:
    """The request of the options of `net2net grow`.

    Args:
        wider: the arguments of `width`.
        deeper: those of `depth`.
        streamed: options that only words of a config have, None where they are not given.
        given: specifications of inputs, the weights of a Python source, and the seed.
    """
    asked = {**width(**wider), **depth(**deeper)}
    if not {"sizes", "where"} & set(asked):
        nothing_without("--deepen or --deepen-all", asked)
        raise typer.BadParameter("give --set or --all to grow wider, --deepen or --deepen-all to grow deeper, or both.")
    return Request(asked, {name: value for name, value in streamed.items() if value not in (None, False)}, *given)


def width(
    pairs: list[str] | None, factor: str | None, how: str | None, split: bool, shares: str | None, noise: str | None
) -> dict[str, Any]:
    """What --set or --all ask for; nothing if neither is given."""
    if split and how not in (None, "split"):
        raise typer.BadParameter(f"it means --how split, and --how {how} is given.", param_hint="--split")
    how = "split" if split else how
    options = {"how": how, "shares": shares, "noise": noise}
    given = {name: value for name, value in options.items() if value is not None}
    if pairs and factor:
        raise typer.BadParameter("give either --set NAME=SIZE, as often as needed, or --all FACTOR.")
    if not pairs and not factor:
        nothing_without("--set or --all", given)
        return {}
    sizes = _factor(factor, "--all") if factor else _pairs(pairs or [], "--set", "NAME=SIZE, such as fc1=64 or fc1=2x")
    return {"sizes": sizes, **given}


def depth(
    pairs: list[str] | None,
    factor: str | None,
    init: str | None,
    positions: str | None,
    kernel: str | None,
    calibration: Path | None,
) -> dict[str, Any]:
    """What --deepen or --deepen-all ask for; if neither is given, how layers are made and where they go."""
    options: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("init", init, _init),
        ("positions", positions, _positions),
        ("kernel", kernel, _kernel),
        ("calibration", calibration, _calibration),
    ]
    given = {name: parsed(value) for name, value, parsed in options if value is not None}
    if pairs and factor:
        raise typer.BadParameter("give either --deepen NAME=COUNT, as often as needed, or --deepen-all FACTOR.")
    if not pairs and not factor:  # the number of layers may be a word of a config among the sizes
        nothing_without("--deepen or --deepen-all", {n: v for n, v in given.items() if n not in STREAMED_DEPTH})
        return given
    if factor:
        return {"where": _factor(factor, "--deepen-all"), **given}
    counts = _pairs(pairs or [], "--deepen", "NAME=COUNT, such as layers=2, layers=2x or layers=0,2")
    return {"where": {name: _count(name, count) for name, count in counts.items()}, **given}


def nothing_without(needed: str, given: dict[str, Any]) -> None:
    """Reject options that have no effect."""
    if given:
        raise typer.BadParameter(f"it does nothing without {needed.rstrip('.')}.", param_hint=f"--{next(iter(given))}")


def _factor(text: str, option: str) -> str:
    if not text.strip().lower().endswith("x"):
        raise typer.BadParameter(f"{text!r} is not a factor; write 2x or 1.5x.", param_hint=option)
    return text


def _pairs(pairs: list[str], option: str, form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, separator, value = pair.rpartition("=")
        if not (separator and name and value):
            raise typer.BadParameter(f"{pair!r} is not {form}.", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is named twice.", param_hint=option)
        found[name] = value
    return found


def _count(name: str, text: str) -> int | str | list[int]:
    """How many more: a number, a factor, or the blocks after which new ones come."""
    if re.fullmatch(r"\d+", text):
        return int(text)
    if re.fullmatch(_FACTOR, text):
        return text
    if re.fullmatch(_BLOCKS, text) and "," in text:
        return [int(block) for block in text.split(",")]
    raise typer.BadParameter(
        f"{text!r} is not a depth for {name!r}; give how many more (2), a factor (2x), or the blocks after which new "
        "ones come (0,2).",
        param_hint="--deepen",
    )


def _init(text: str) -> str:
    if text not in INITS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(INITS)}.", param_hint="--init")
    return text


def _positions(text: str) -> str | list[int]:
    if text in POSITIONS:
        return text
    if not re.fullmatch(_BLOCKS, text):
        known = ", ".join(POSITIONS)
        raise typer.BadParameter(f"{text!r} is neither {known} nor blocks such as 0,2.", param_hint="--positions")
    return [int(block) for block in text.split(",")]


def _kernel(text: str) -> Any:
    """A size, a size for each axis, or several of them for identity layers one after the other."""
    if not re.fullmatch(r"\d+(x\d+)*(,\d+(x\d+)*)*", text):
        raise typer.BadParameter(f"{text!r} is not a kernel; write 3, 1x7 or 1x7,7x1.", param_hint="--kernel")
    kernels = [tuple(map(int, one.split("x"))) for one in text.split(",")]
    sizes = [kernel[0] if len(kernel) == 1 else kernel for kernel in kernels]
    return sizes if len(sizes) > 1 else sizes[0]


def _calibration(file: Path) -> dict[str, Any]:
    try:
        return safetensors.torch.load_file(file)
    except (OSError, safetensors.SafetensorError) as error:
        raise typer.BadParameter(f"{file} can't be read: {error}.", param_hint="--calibration") from error
