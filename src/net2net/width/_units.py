"""The new units of one dimension: which old unit each copies, and with what share."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from net2net.axes import Atom

HOWS = ("split", "zero_out", "pair", "random_pad")


@dataclass(frozen=True, eq=False)
class UnitMap:
    """`source[i]` is the old unit that new unit i copies, -1 for a unit that is new; `shares[i]` is its part of the
    outgoing weights; `partner[i]` the unit whose incoming weights it repeats (pairs), -1 for none."""

    atom: Atom
    how: str
    source: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64] | None
    partner: npt.NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        return len(self.source)


def generator(seed: int, name: str) -> np.random.Generator:
    """A random generator of its own for each name, so that no draw depends on the order of the work."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def unit_map(atom: Atom, name: str, after: int, how: str, *, uniform: bool, shares: str, seed: int) -> UnitMap:
    """The map of one dimension from its size to `after`.

    Source: Chen et al. (2016), Algorithm 1 (split: the first units are the teacher's, the others drawn with
    replacement). Every unit has as many copies where a normalisation needs it, and with even shares in a whole
    multiple, so that all shares are the same (tiling, as in HyperCloning).
    """
    before = atom.size
    old = np.arange(before)
    if how == "split":
        if uniform or (shares == "even" and after % before == 0):
            source = np.tile(old, after // before)
        else:
            source = np.concatenate([old, generator(seed, name).integers(0, before, after - before)])
        return UnitMap(atom, how, source, _shares(source, shares))
    source = np.concatenate([old, np.full(after - before, -1)])
    partner = None
    if how == "pair":
        half = (after - before) // 2
        partner = np.full(after, -1)
        partner[before + half : before + 2 * half] = np.arange(before, before + half)
    return UnitMap(atom, how, source, None, partner)


def _shares(source: npt.NDArray[np.int64], kind: str) -> npt.NDArray[np.float64]:
    """Even shares, or 1 : 2 : 3 ... over the copies of a unit, which keeps copies from being twins."""
    rank = np.zeros(len(source), dtype=np.int64)
    seen: dict[int, int] = {}
    for i, unit in enumerate(source.tolist()):
        seen[unit] = rank[i] = seen.get(unit, 0) + 1
    weight = rank.astype(np.float64) if kind == "uneven" else np.ones(len(source))
    total = np.zeros(int(source.max()) + 1)
    np.add.at(total, source, weight)
    shares: npt.NDArray[np.float64] = weight / total[source]
    return shares
