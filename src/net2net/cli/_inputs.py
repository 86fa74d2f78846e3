"""Example inputs from SPECs of the command line."""

from __future__ import annotations

import torch
import typer

from net2net.capture import Inputs

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.bool,
    )
}


def parse(specs: list[str], seed: int) -> Inputs:
    """Tensors for SPECs `[NAME=]SHAPE[:DTYPE[:BELOW]]`: a dict if they have names, else a tuple.

    Example:
        >>> parse(["ids=2x7:int64:37"], seed=0)["ids"].shape
        torch.Size([2, 7])
    """
    generator = torch.Generator().manual_seed(seed)
    named: dict[str, torch.Tensor] = {}
    unnamed: list[torch.Tensor] = []
    for spec in specs:
        name, separator, rest = spec.rpartition("=")
        if separator and name:
            named[name] = _tensor(spec, rest, generator)
        else:
            unnamed.append(_tensor(spec, rest, generator))
    if named and unnamed:
        raise _bad("name all inputs or none of them.")
    return named or tuple(unnamed)


def _tensor(spec: str, text: str, generator: torch.Generator) -> torch.Tensor:
    shape_text, *more = text.split(":")
    try:
        shape = [int(size) for size in shape_text.split("x")]
        dtype = _DTYPES[more[0]] if more else torch.float32
        below = int(more[1]) if len(more) > 1 else None
    except (ValueError, KeyError):
        raise _bad(
            f"{spec!r} is not [NAME=]SHAPE[:DTYPE[:BELOW]], such as 2x3x32x32 or ids=2x7:int64:37; dtypes: "
            f"{', '.join(_DTYPES)}."
        ) from None
    if min(shape) < 1 or len(more) > 2 or (below is not None and (below < 1 or dtype.is_floating_point)):
        raise _bad(f"{spec!r}: sizes are at least 1, and only whole numbers have a BELOW, of at least 1.")
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if below is None and dtype is not torch.bool:
        raise _bad(f"{spec!r}: whole numbers need a bound, such as {shape_text}:{more[0]}:37 for numbers below 37.")
    return torch.randint(0, below or 2, shape, generator=generator).to(dtype)


def _bad(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--input")
