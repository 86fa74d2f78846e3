"""Are the copies of a unit still the same unit? Measured in the student as it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import nn

from net2net.analysis import analyze
from net2net.axes import Atom, Product, Term, atoms, resolve, size
from net2net.capture import Inputs
from net2net.plan import Plan, Widening
from net2net.report import table


@dataclass(frozen=True)
class Twins:
    """The two copies of a unit of a dimension that are closest: the cosine between their incoming weights, and their
    distance relative to the larger of them. `copies` counts the units that have copies."""

    dimension: str
    copies: int
    cosine: float
    distance: float


def closest_copies(plan: Plan, student: nn.Module, inputs: Inputs) -> tuple[Twins, ...]:
    """How far the copies of units have separated, for each dimension that a plan widened by copies."""
    copied = [w for step in plan.steps for w in step.widenings if w.units.has_copies]
    if not copied:
        return ()
    analysis = analyze(student, inputs)
    tensors = {n: t.detach() for n, t in student.named_parameters(remove_duplicate=False)}
    result = []
    for widening in copied:
        dimension = analysis.dimensions.get(widening.dimension)
        if dimension is None or dimension.size != widening.after:
            continue  # a later step of the growth has changed it
        atom, inference = analysis.atoms[dimension.name], analysis.sites.inference
        rows = [
            part
            for place in dimension.places
            if place.role == "produced" and place.tensor in tensors
            for part in _rows(
                tensors[place.tensor].movedim(place.axis, 0),
                inference.of(inference.graph.state[place.tensor])[place.axis],
                atom,
            )
        ]
        if rows:
            result.append(_closest(widening, torch.cat([r.double() for r in rows], 1)))
    return tuple(result)


def _rows(tensor: torch.Tensor, term: Term, atom: Atom) -> Iterator[torch.Tensor]:
    """What belongs to each unit of the atom in the first axis of a tensor: one row per unit."""
    term = resolve(term)
    if term is atom:
        yield tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]
    elif isinstance(term, Product):
        parts = tensor.reshape([*(size(f) for f in term.factors), *tensor.shape[1:]])
        for k, factor in enumerate(term.factors):
            yield from _rows(parts.movedim(k, 0), factor, atom)
    elif not isinstance(term, Atom):
        for part, inner in zip(torch.split(tensor, [size(p) for p in term.parts]), term.parts, strict=True):
            if any(a is atom for a in atoms(inner)):
                yield from _rows(part, inner, atom)


def _closest(widening: Widening, rows: torch.Tensor) -> Twins:
    source = widening.units.source
    groups = [np.flatnonzero(source == unit).tolist() for unit in np.unique(source[source >= 0])]
    groups = [group for group in groups if len(group) > 1]
    first, second = zip(*[pair for group in groups for pair in combinations(group, 2)], strict=True)
    a, b = rows[list(first)], rows[list(second)]
    size_of = torch.maximum(a.norm(dim=1), b.norm(dim=1)).clamp(min=torch.finfo(rows.dtype).tiny)
    distance = float(((a - b).norm(dim=1) / size_of).min())
    cosine = float(torch.nn.functional.cosine_similarity(a, b).max())
    return Twins(widening.dimension, len(groups), cosine, distance)


def twins_table(twins: tuple[Twins, ...]) -> str:
    """The closest copies of each dimension; empty where there are none."""
    rows = [[t.dimension, str(t.copies), f"{t.cosine:.4f}", f"{t.distance:.1%}"] for t in twins]
    return table(["copies in", "units", "largest cosine", "least distance"], rows, (1, 2, 3)) if rows else ""
