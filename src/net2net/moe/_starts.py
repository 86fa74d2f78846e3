"""New experts that are no whole copies: some of their hidden units are drawn anew, or all of them."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt
from torch import nn

from net2net.analysis import Analysis, analyze_examples
from net2net.axes import Atom
from net2net.capture import Example
from net2net.errors import CaptureError, OptionError
from net2net.moe._mixtures import Mixture
from net2net.plan import AxisMap, TensorPlan
from net2net.sites import compose

Mask = npt.NDArray[np.bool_]


def check_redrawn(share: object, routing: str, dense: bool) -> None:
    """Raise if no such share of units can be drawn anew.

    Raises:
        OptionError: it is no share, or goes against the rest of the request.
    """
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise OptionError(f"redrawn={share!r} is no share of hidden units; use a number from 0 to 1.")
    if share and routing == "raise_k":
        raise OptionError(
            "routing='raise_k' shares the output of an expert out over its copies, and with redrawn= new experts are "
            "none. Use routing='free' or 'replica'."
        )
    if share == 1 and dense:
        raise OptionError(
            "redrawn=1 would leave nothing of the feed-forwards. Use a smaller share, or build a "
            "net2net.moe.MixtureOfExperts."
        )


def drawn_units(share: float, experts: int, units: int, seed: int, name: str) -> Mask:
    """Which hidden units are drawn anew (experts, units): equally many of each expert, and at least one.

    Source: Drop-Upcycling, arXiv 2502.19261, section 3.
    """
    generator = np.random.default_rng(zlib.crc32(f"{seed} {name}".encode()))
    found = np.zeros((experts, units), dtype=bool)
    for row in found:
        row[generator.permutation(units)[: max(1, round(share * units))]] = True
    return found


def redrawn_experts(
    model: nn.Module,
    examples: tuple[Example, ...],
    mixtures: Mapping[str, Mixture],
    tensors: Mapping[str, TensorPlan],
    share: float,
    seed: int,
) -> dict[str, TensorPlan]:
    """The tensors of a plan of copies, with a share of the hidden units of new experts drawn anew: the same units in
    all matrices of an expert. Its biases are those of the copy, and the first copy of each expert stays as it is.

    With a share of 1 the rows of new experts in the router are drawn, too.

    Args:
        model: the teacher.
        examples: its inputs.
        mixtures: those that grow.
        tensors: the plan of copies.
        share: of the units.
        seed: of the choice.

    Raises:
        OptionError: the hidden units of experts aren't found.
    """
    analysis = None if share == 1 else _analysed(model, examples)
    result = dict(tensors)
    for mixture in mixtures.values():
        inside = tuple(f"{path}." for path in ((mixture.stack,) if mixture.stack else mixture.members))
        hidden = None if analysis is None else _hidden(analysis, mixture, inside)
        router = mixture.gate.weight if mixture.gate is not None and share == 1 else None
        seen: Counter[str] = Counter()
        for name, tensor in tensors.items():
            source, rank = tensor.source or name, len(tensor.shape)
            if tensor.new or not (source == router or source.startswith(inside)):
                continue
            number = seen[source]
            seen[source] += 1
            if source == router or mixture.stack:
                entries = _later(tensor.axes[0]).reshape(-1, *[1] * (rank - 1))
                experts, is_matrix = len(entries), rank == (2 if source == router else 3)
            else:
                entries, experts, is_matrix = np.full([1] * rank, number > 0), number + 1, rank == 2
            if is_matrix and hidden is not None:
                drawn = hidden.drawn(source, experts, share, seed)
                entries = entries & (drawn if mixture.stack else drawn[number])
            if is_matrix and entries.any():
                result[name] = replace(tensor, redrawn=entries)
    return result


@dataclass(frozen=True, eq=False)
class _Hidden:
    """The hidden units of a mixture's experts: by tensor the dimensions that run through it, and along which axes;
    `first` is the first axis that isn't that of experts."""

    analysis: Analysis
    places: dict[str, list[tuple[str, int]]]
    first: int

    def drawn(self, tensor: str, experts: int, share: float, seed: int) -> Mask:
        """Which entries belong to units that are drawn anew: (experts, ...), to be stretched to the tensor's shape."""
        inference = self.analysis.sites.inference
        terms = inference.of(inference.graph.state[tensor])
        found = np.zeros([experts, *[1] * (len(terms) - self.first)], dtype=bool)
        for dimension, axis in self.places.get(tensor, ()):
            atom = self.analysis.atoms[dimension]
            units = drawn_units(share, experts, atom.size, seed, dimension)
            rows = [compose(terms[axis], partial(_without, atom, some)).source < 0 for some in units]
            found = found | np.moveaxis(np.stack(rows)[(...,) + (None,) * (found.ndim - 2)], 1, 1 + axis - self.first)
        return found


def _without(atom: Atom, units: Mask, other: Atom) -> AxisMap:
    """The map of an atom of a composite axis: units of one of them are new."""
    places = np.arange(other.size)
    return AxisMap(np.where(units, -1, places) if other is atom else places, before=other.size)


def _analysed(model: nn.Module, examples: tuple[Example, ...]) -> Analysis:
    try:
        return analyze_examples(model, examples)
    except CaptureError as error:
        reason = str(error).splitlines()[0]
        raise OptionError(f"the hidden units of experts aren't found, so none can be drawn anew: {reason}") from error


def _hidden(analysis: Analysis, mixture: Mixture, inside: tuple[str, ...]) -> _Hidden:
    """The dimensions that begin and end within experts."""
    first = 1 if mixture.stack else 0
    places: dict[str, list[tuple[str, int]]] = {}
    for dimension in analysis.dimensions.values():
        within = all(p.tensor.startswith(inside) and p.axis >= first for p in dimension.places)
        if within and {p.role for p in dimension.places} == {"produced", "contracted"}:
            for place in dimension.places:
                places.setdefault(place.tensor, []).append((dimension.name, place.axis))
    if not places:
        raise OptionError(
            f"'{mixture.name}': no hidden units are found in its experts, so none can be drawn anew. redrawn=1 draws "
            "whole experts."
        )
    return _Hidden(analysis, places, first)


def _later(axis: AxisMap | None) -> Mask:
    """The places along the axis of experts that hold a second copy of one, or a further one."""
    assert axis is not None
    new = np.ones(len(axis.source), dtype=bool)
    new[np.unique(axis.source, return_index=True)[1]] = False
    return new
