"""The tables of what can grow: dimensions, and places to deepen."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from net2net.analysis._dimensions import Dimension
from net2net.axes import LockKind
from net2net.depth import DepthPlace
from net2net.report import starred, table


def dimension_rows(dimensions: Iterable[Dimension]) -> tuple[list[Dimension], str]:
    """The dimensions to show, and a line that counts those that are not: axes inside one tensor, such as kernels."""
    every = list(dimensions)
    shown = [d for d in every if d.lock is not LockKind.UNCARRIED]
    rest = len(every) - len(shown)
    return shown, f"(and {rest} axes that no value of the network has, such as those of kernels)" if rest else ""


def dimension_table(dimensions: Collection[Dimension]) -> str:
    """The dimensions of a network: name, size, tensors, what each tolerates and why."""
    shown, rest = dimension_rows(dimensions)
    rows = [
        [
            d.name + ("" if d.primary or d.growth == "fixed" else " *"),
            str(d.size),
            str(len(d.tensors)),
            d.growth,
            d.reason,
        ]
        for d in shown
    ]
    text = table(["dimension", "size", "tensors", "growth", "why"], rows, right=(1, 2))
    if any(not d.primary and d.growth != "fixed" for d in dimensions):
        text += "\n* shares its axes with the dimension before it; grows only when named"
    return f"{text}\n{rest}" if rest else text


def place_rows(places: Iterable[DepthPlace]) -> list[DepthPlace]:
    """Where a network can be made deeper: stacks of blocks, and layers; what repeats in every block is shown once."""
    shown: dict[tuple[str, ...], DepthPlace] = {}
    for place in places:
        name, reason = (starred(text) for text in (place.name, place.reason))
        key = (name, place.growth, reason) if place.kind == "layer" else (place.name,)
        shown[key] = replace(place, name=name, reason=reason) if key in shown else place
    return list(shown.values())


def place_table(places: Iterable[DepthPlace]) -> str:
    """The places to deepen: name, kind, how many blocks or layers are there, and what is possible."""
    rows = [[p.name, p.kind, str(p.count), p.growth, p.reason] for p in place_rows(places)]
    return table(["deeper at", "kind", "now", "growth", "how, or why not"], rows, right=(2,))
