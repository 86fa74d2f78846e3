"""What a search may grow: knobs, each a kind of dimension or a place to deepen, and the values that it can have."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from net2net.analysis import Analysis, Candidate, candidates, kind_of, new_size
from net2net.errors import SizeError, UnknownNameError

# Patterns of what may grow; or for each pattern the sizes (of a depth: how many more).
SpaceRequest = Sequence[str] | Mapping[str, Sequence[int | float | str]]
# A network of the search: the value of each knob.
Architecture = dict[str, int]
_FACTORS = (1.5, 2.0)


@dataclass(frozen=True)
class Knob:
    """One thing that the search may grow.

    `members` are dimensions of the teacher that grow together, or mixtures of experts, or the one place to deepen.
    `choices` rise from what the teacher has: sizes of the first member, or how many more blocks or layers.
    """

    name: str
    kind: Literal["width", "depth", "experts"]
    members: tuple[str, ...]
    choices: tuple[int, ...]


Space = dict[str, Knob]


def space_of(
    analysis: Analysis, wanted: SpaceRequest | None = None, experts: Mapping[str, int] = MappingProxyType({})
) -> Space:
    """The knobs of a network.

    Args:
        analysis: of the teacher.
        wanted: None for all: every kind of dimension at 1.5 and 2 times its size, rounded up to a multiple that
            hardware likes, and up to two more blocks or layers at each place that isn't inside a block; patterns of
            names for some of these; or a dict from patterns to values: for a width sizes or factors, for a depth
            ("deepen NAME") how many more, or factors; for mixtures ("experts NAME") the number of experts.
        experts: how many each mixture of the teacher has.

    Raises:
        UnknownNameError: a pattern matches nothing.
        SizeError: a value is smaller than what is there, or not one that the dimension allows.

    Example:
        >>> import torch, net2net
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 20), torch.nn.ReLU(), torch.nn.Linear(20, 2))
        >>> analysis = net2net.analyze(model, torch.randn(3, 4))
        >>> [(k.name, k.choices) for k in space_of(analysis).values()]
        [('0', (20, 32, 40)), ('deepen 0', (0, 1, 2))]
        >>> space_of(analysis, {"0": ["2x", 30]})["0"].choices
        (20, 30, 40)
    """
    found = candidates(analysis)
    for path, size in experts.items():
        name = f"experts {kind_of(analysis, path)}"
        found[name] = Candidate(name, "experts", (*(found[name].members if name in found else ()), path), size)
    stacks = [place.name for place in analysis.places.values() if place.kind == "blocks"]
    outside = {
        name: c
        for name, c in found.items()
        if c.kind != "depth" or not any(c.members[0].startswith(f"{stack}.") for stack in stacks)
    }
    if wanted is None:
        return {name: Knob(name, c.kind, c.members, _usual(c)) for name, c in outside.items()}
    space: Space = {}
    for pattern in wanted:
        names = [pattern] if pattern in found else fnmatch.filter(outside, pattern)
        if not names:
            listed = ", ".join(map(repr, found)) or "nothing"
            raise UnknownNameError(f"the space names {pattern!r}, which matches nothing. What can grow: {listed}.")
        for name in names:
            one = found[name]
            choices = _usual(one) if not isinstance(wanted, Mapping) else _given(one, wanted[pattern])
            space[name] = Knob(name, one.kind, one.members, choices)
    return space


def smallest(space: Space) -> Architecture:
    """The teacher itself."""
    return {name: knob.choices[0] for name, knob in space.items()}


def fits_into(small: Mapping[str, int], large: Mapping[str, int]) -> bool:
    """Whether one network can grow into another one."""
    return all(value <= large[name] for name, value in small.items())


def _usual(one: Candidate) -> tuple[int, ...]:
    if one.kind == "depth":
        return 0, 1, 2
    if one.multiple or one.kind == "experts":
        return one.size, 2 * one.size
    unit = 1
    while unit < 64 and 8 * unit <= one.size:  # a power of two, at most a quarter of the size
        unit *= 2
    return tuple(sorted({one.size, *(-(-round(one.size * factor) // unit) * unit for factor in _FACTORS)}))


def _given(one: Candidate, values: Sequence[int | float | str]) -> tuple[int, ...]:
    choices = {0 if one.kind == "depth" else one.size}
    for value in values:
        if one.kind == "depth":
            more = value if isinstance(value, int) else new_size(value, one.size, one.name) - one.size
            if more < 0:
                raise SizeError(f"'{one.name}': {value!r}; say how many more there may be, from 0.")
            choices.add(more)
            continue
        size = new_size(value, one.size, one.name)
        if size < one.size or (one.multiple and size % one.size):
            allowed = f"whole multiples of {one.size} only" if one.multiple else f"sizes from {one.size}"
            raise SizeError(f"'{one.name}': {value!r} is {size}; this space allows {allowed}.")
        choices.add(size)
    return tuple(sorted(choices))
