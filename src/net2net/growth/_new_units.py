"""Where the new units of a growth stand in its parameters, beside the teacher's own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from net2net.axes import Atom, Inference, Term, atoms
from net2net.plan import AxisMap, Plan
from net2net.proof import NewUnits, Places
from net2net.sites import compose


def new_units(plan: Plan, inference: Inference, growing: Mapping[Atom, tuple[str, Places]]) -> list[NewUnits]:
    """Where the new units of each growing dimension stand: copies but the first of a unit are new too.

    Args:
        plan: the growth.
        inference: of the teacher.
        growing: for each atom that grows a name, and where each of its units comes from.
    """
    sizes = {atom: len(source) for atom, (_, source) in growing.items()}
    found = []
    for name in plan.tensors:
        for axis, term in enumerate(inference.of(inference.graph.state[name])):
            for atom in dict.fromkeys(a for a in atoms(term) if a in growing):
                new, old = (_places(term, atom, marked, sizes) for marked in _new_and_old(growing[atom][1]))
                found.append(NewUnits(name, growing[atom][0], axis, new, old))
    return [units for units in found if len(units.new)]


def new_tensors(plan: Plan) -> list[NewUnits]:
    """The tensors of new layers, each with the teacher's own that it copies, or that is its nearest relative; and in
    layers of the teacher the units that a new layer mirrors, beside those that they are mirrors of."""
    moved = {t.source: name for name, t in plan.tensors.items() if not t.new and t.source is not None}
    sources = {name: tensor.source or "" for name, tensor in plan.tensors.items() if tensor.new}
    mirrored = [
        NewUnits(name, axis=axis, new=np.flatnonzero(new), old=np.flatnonzero(old))
        for name, tensor in plan.tensors.items()
        for axis, m in enumerate(() if tensor.new else tensor.axes)
        if m is not None and m.has_copies
        for new, old in [_new_and_old(m.source)]
    ]
    return [NewUnits(name, copies=moved.get(source, source)) for name, source in sources.items()] + mirrored


def _places(term: Term, atom: Atom, marked: npt.NDArray[np.bool_], sizes: dict[Atom, int]) -> Places:
    """The places of an axis at which a dimension has a unit that is marked."""

    def leaf(other: Atom) -> AxisMap:
        if other is atom:
            return AxisMap(np.where(marked, -1, 0))
        return AxisMap(np.zeros(sizes.get(other, other.size), dtype=np.int64))

    return np.flatnonzero(compose(term, leaf).source < 0)


def _new_and_old(source: Places) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Which units are no first copy of an old one; and the old ones beside them: for copies, those that they copy."""
    first = np.zeros(len(source), dtype=bool)
    first[np.unique(source, return_index=True)[1]] = True
    first &= source >= 0
    copied = source[~first & (source >= 0)]
    return ~first, first & np.isin(source, copied) if len(copied) else first
