"""The axes that a surgery changes: where their places come from, and what is known of those that are new or go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from net2net.analysis import Analysis
from net2net.axes import Atom, Inference, LockKind, Term, atoms
from net2net.errors import FixedDimensionError, OptionError
from net2net.sites import FreshNeeds, NotPossible, Sites
from net2net.surgeries._divide import divided, places_of
from net2net.surgeries._ports import Wish
from net2net.surgeries._starts import Start
from net2net.surgeries._statistics import begun


@dataclass
class Changed:
    """One axis that a surgery changes: where its places come from, what its new ones ask of the weights around, how
    they begin, the constants of those that go (NaN elsewhere), and means and variances of all places (0 and 1 where
    none are given) where any are."""

    wishes: list[Wish]
    source: npt.NDArray[np.int64]
    needs: FreshNeeds = field(default_factory=FreshNeeds)
    starts: dict[Wish, Start] = field(default_factory=dict)
    constants: npt.NDArray[np.float64] | None = None
    statistics: npt.NDArray[np.float64] | None = None

    @property
    def name(self) -> str:
        """For messages and reports."""
        return " and ".join(f"{w.side} {w.name}" for w in self.wishes)


def changed_axes(analysis: Analysis, wishes: list[Wish], later: bool) -> dict[Atom, Changed]:
    """What becomes of every atom that the wishes are about.

    Raises:
        FixedDimensionError: it can't change like this; the message says what holds it.
        OptionError: two wishes ask for different changes of one axis.
    """
    inference = analysis.sites.inference
    found: dict[Atom, Changed] = {}
    for wish in wishes:
        for term in _terms(inference, wish):
            try:
                parts = divided(term, wish.places.source, later)
            except NotPossible as reason:
                raise FixedDimensionError(f"{wish.what} can't change like this: {reason}.") from None
            for atom, source in parts.items():
                if np.array_equal(source, np.arange(atom.size)):
                    continue
                known = found.setdefault(atom, Changed([], source))
                if not np.array_equal(known.source, source):
                    raise OptionError(
                        f"{wish.what} and the {known.name} are one axis of the network and would change differently; "
                        "name the same features for both."
                    )
                if wish not in known.wishes:
                    known.wishes.append(wish)
    for atom, changed in found.items():
        _require_free(analysis.sites, atom, changed)
        changed.constants = _constants(inference, atom, changed)
        changed.statistics = _statistics(inference, atom, changed)
    return found


def _terms(inference: Inference, wish: Wish) -> Iterator[Term]:
    if wish.axis is None:
        yield from (inference.of(table)[0] for table in wish.tables)
    else:
        yield from (inference.of(value)[wish.axis] for _, value in wish.values)


def _require_free(sites: Sites, atom: Atom, changed: Changed) -> None:
    """Raise if something holds an axis, or if it is no axis of features."""
    what = changed.wishes[0].what
    state = sites.inference.graph.state.values()
    reaches = any(a is atom for value in state for term in sites.inference.of(value) for a in atoms(term))
    at_the_ends = atom.lock is None or atom.lock.kind in (LockKind.INPUT, LockKind.OUTPUT)
    if not reaches and at_the_ends:
        raise FixedDimensionError(
            f"{what} has no features along axis {changed.wishes[0].features.axis}: no weight of the network has that "
            "axis. Name another (axis=)."
        )
    if atom.lock is not None:
        where = {LockKind.INPUT: "features=", LockKind.OUTPUT: "outputs="}.get(atom.lock.kind)
        more = f" If that one changes along, ask for it too, in {where}." if where else ""
        raise FixedDimensionError(f"{what} can't change: {atom.lock}.{more}")


def _constants(inference: Inference, atom: Atom, changed: Changed) -> npt.NDArray[np.float64] | None:
    """The constants of the places of an atom that go; None where none goes.

    Raises:
        FixedDimensionError: none is given, or the places are those of a state.
    """
    gone = np.setdiff1d(np.arange(atom.size), changed.source)
    inputs = [w for w in changed.wishes if w.side == "input" and w.axis is not None]
    if not len(gone):
        return None
    if not inputs:
        return np.full(atom.size, np.nan)
    if any(w.side == "output" for w in changed.wishes):
        raise FixedDimensionError(f"{inputs[0].what} is given back too: units of a state can't go.")
    result: npt.NDArray[np.float64] | None = None
    for wish in inputs:
        names = [wish.features.old[place % len(wish.features.old)] for place in wish.places.gone]
        odd = [n for n in names if n not in {str(k) for k in wish.features.constants}]
        if odd:
            raise OptionError(
                f"'{odd[0]}' of {wish.what} goes: say which constant it has become, constants={{'{odd[0]}': 0.0}}. A "
                "feature that is still live can't be removed exactly; feed it a constant first, and train on that."
            )
        mine = _of_atom(inference, atom, wish)
        mine[np.setdiff1d(np.arange(atom.size), gone)] = np.nan
        if result is not None and not np.array_equal(result, mine, equal_nan=True):
            raise OptionError(f"{wish.what} shares its weights with another input that has other constants.")
        result = mine
    return result


def _statistics(inference: Inference, atom: Atom, changed: Changed) -> npt.NDArray[np.float64] | None:
    """Means and variances of the places of an atom after the change; None where none are given.

    Raises:
        OptionError: nothing in the network holds any.
    """
    wishes = [w for w in changed.wishes if w.features.statistics]
    if not wishes:
        return None
    wish, names = wishes[0], wishes[0].features.new
    pairs = [tuple(map(float, wish.features.statistics.get(name, (0.0, 1.0)))) for name in names]
    count, rest = divmod(len(changed.source), len(names))
    statistics = np.array(pairs * count)
    buffers = [value for value in inference.graph.state.values() if value.kind == "buffer"]
    buffers = [v for v in buffers if any(a is atom for term in inference.of(v) for a in atoms(term))]
    odd = [v for v in buffers if rest or begun(inference, v, atom, statistics) is None]
    if odd or not buffers:
        more = f"; '{odd[0].name}' is neither a mean nor a variance of what is given" if odd else ""
        raise OptionError(
            f"statistics= are given for {wish.what}, and no running normaliser that is known holds them{more}."
        )
    return statistics


def _of_atom(inference: Inference, atom: Atom, wish: Wish) -> npt.NDArray[np.float64]:
    """The constants of the places of an atom, from those of an axis that it is a part of."""
    found = np.full(atom.size, np.nan)
    for term in _terms(inference, wish):
        places = places_of(term, atom)
        at = np.flatnonzero(places >= 0)
        found[places[at]] = wish.places.constants[at]
        if not np.array_equal(found[places[at]], wish.places.constants[at], equal_nan=True):
            raise FixedDimensionError(f"{wish.what} takes one feature twice, with different constants.")
    return found
