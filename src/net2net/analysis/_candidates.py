"""What one would try to grow: each kind of dimension, tied across the layers that repeat, and each place to deepen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from net2net.analysis._analysis import Analysis
from net2net.report import starred


@dataclass(frozen=True)
class Candidate:
    """One thing that can grow by itself.

    `members` are dimensions that grow together, those of repeated blocks under a name with `*`, or the one place to
    deepen; `size` is that of the first member now (of a place: how many blocks or layers); `multiple` says that only
    whole multiples work. Experts are no part of an analysis: who knows them makes candidates of them.
    """

    name: str
    kind: Literal["width", "depth", "experts"]
    members: tuple[str, ...]
    size: int
    multiple: bool = False


def candidates(analysis: Analysis) -> dict[str, Candidate]:
    """Everything that can grow by itself, by name: widths first, then depths, whose names may be those of widths.

    Example:
        >>> import torch, net2net
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> found = candidates(net2net.analyze(model, torch.randn(3, 4)))
        >>> [(name, c.kind, c.size) for name, c in found.items()]
        [('0', 'width', 8), ('deepen 0', 'depth', 1)]
    """
    found: dict[str, Candidate] = {}
    for d in analysis.dimensions.values():
        if d.primary and d.growth != "fixed":
            name = kind_of(analysis, d.name)
            before = found.get(name, Candidate(name, "width", (), d.size))
            members, multiple = (*before.members, d.name), before.multiple or d.growth == "multiple"
            found[name] = Candidate(name, "width", members, before.size, multiple)
    for place in analysis.places.values():
        if place.growth == "exact":
            name = f"deepen {place.name}"
            found[name] = Candidate(name, "depth", (place.name,), place.count)
    return found


def kind_of(analysis: Analysis, dimension: str) -> str:
    """The name of a dimension, without the numbers of layers where it is of a block that repeats."""
    stacks = (place.name for place in analysis.places.values() if place.kind == "blocks")
    return starred(dimension) if any(dimension.startswith(f"{stack}.") for stack in stacks) else dimension
