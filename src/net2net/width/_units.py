"""The ways to make new units: which old unit each copies, with what share. Users register theirs."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from net2net.errors import OptionError
from net2net.plan import Fresh, Preservation


@dataclass(frozen=True, eq=False)
class UnitMap:
    """`source[i]` is the old unit that new unit i copies, -1 for a unit that is new; `shares[i]` is its part of the
    outgoing weights; `partner[i]` the unit whose incoming weights it repeats (pairs), -1 for none."""

    source: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64] | None = None
    partner: npt.NDArray[np.int64] | None = None

    @property
    def size(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class UnitRequest:
    """What is asked for: a dimension by name, its size before and after, and the user's options.

    `uniform` says that it is averaged over, so that every unit must be there equally often.
    """

    name: str
    before: int
    after: int
    uniform: bool
    shares: str
    seed: int

    def generator(self) -> np.random.Generator:
        """A random generator of its own for each name, so that no draw depends on the order of the work."""
        return generator(self.seed, self.name)


@dataclass(frozen=True)
class How:
    """A way to make new units, and what it means for the weights around them.

    `copies` says that new units copy old ones, whose outgoing weights are shared out; else they are new, with zeros on
    the way `zeros` ("out", "in", "both" or None: on neither). `cancels`: on the way out they stand in pairs of opposite
    sign instead of zeros. `fill` is what the other weights of new units start as. `preserves` is what it promises.
    """

    name: str
    make: Callable[[UnitRequest], UnitMap]
    copies: bool = False
    zeros: Literal["out", "in", "both"] | None = "out"
    cancels: bool = False
    fill: Fresh = "random"
    preserves: Preservation = "exact"


_HOWS: dict[str, How] = {}
_OWN: frozenset[str] = frozenset()  # those below, once they are registered


def register_how(
    name: str,
    *,
    copies: bool = False,
    zeros: Literal["out", "in", "both"] | None = "out",
    cancels: bool = False,
    fill: Fresh = "random",
    preserves: Preservation = "exact",
) -> Callable[[Callable[[UnitRequest], UnitMap]], Callable[[UnitRequest], UnitMap]]:
    """Register a way to make new units under the name that the option `how` takes.

    Args:
        name: as in `how="split"`.
        copies, zeros, cancels, fill, preserves: see `How`.

    Returns:
        A decorator of a function from a request to the map of the units: which old unit each copies, with what share.

    Raises:
        OptionError: the name is one of the library's own. One of yours is replaced.

    Example:
        >>> import torch, net2net
        >>> @register_how("first_again", copies=True)
        ... def first_again(request):
        ...     source = np.concatenate([np.arange(request.before), np.zeros(request.after - request.before, int)])
        ...     return UnitMap(source, even_shares(source))
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> growth = net2net.widen(teacher, {"0": 10}, torch.randn(3, 4), how="first_again")
        >>> growth.plan.widenings[0].units.source[-2:], growth.verification.passed
        (array([0, 0]), True)
    """
    if name in _OWN:
        raise OptionError(f"how={name!r} is the library's own; use another name.")

    def register(make: Callable[[UnitRequest], UnitMap]) -> Callable[[UnitRequest], UnitMap]:
        _HOWS[name] = How(name, make, copies, zeros, cancels, fill, preserves)
        return make

    return register


def hows() -> tuple[str, ...]:
    """The ways to make new units that are registered."""
    return tuple(_HOWS)


def how_of(name: str) -> How:
    """A way to make new units by its name.

    Raises:
        OptionError: there is none.
    """
    if not isinstance(name, str) or name not in _HOWS:
        raise OptionError(f"how={name!r} is not known; use one of {', '.join(_HOWS)}, or None for the default.")
    return _HOWS[name]


def generator(seed: int, name: str) -> np.random.Generator:
    """A random generator of its own for each name."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@register_how("split", copies=True, zeros=None)
def _split(request: UnitRequest) -> UnitMap:
    """Copies of units: the first are the teacher's, the others drawn with replacement (Chen et al., 2016, Algorithm 1).

    Every unit has as many copies where a normalisation needs it, and with even shares in a whole multiple, so that all
    shares are the same (tiling, as in HyperCloning).
    """
    before, after = request.before, request.after
    if request.uniform or (request.shares == "even" and after % before == 0):
        source = np.tile(np.arange(before), after // before)
    else:
        source = np.concatenate([np.arange(before), request.generator().integers(0, before, after - before)])
    return UnitMap(source, even_shares(source) if request.shares == "even" else uneven_shares(source))


@register_how("zero_out")
@register_how("zero_in", zeros="in")
@register_how("all_zero", zeros="both")
@register_how("random_pad", zeros=None, fill="initial", preserves="none")
def _new(request: UnitRequest) -> UnitMap:
    """Units that copy none."""
    return UnitMap(np.concatenate([np.arange(request.before), np.full(request.after - request.before, -1)]))


@register_how("pair", cancels=True)
def _pairs(request: UnitRequest) -> UnitMap:
    """New units in pairs: the second half has the incoming weights of the first."""
    half = (request.after - request.before) // 2
    partner = np.full(request.after, -1)
    partner[request.before + half : request.before + 2 * half] = np.arange(request.before, request.before + half)
    return UnitMap(_new(request).source, None, partner)


_OWN = frozenset(_HOWS)


def even_shares(source: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Equal shares for the copies of a unit."""
    return _shares(source, np.ones(len(source)))


def uneven_shares(source: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Shares 1 : 2 : 3 ... over the copies of a unit, which keeps copies from being twins."""
    rank = np.zeros(len(source))
    seen: dict[int, int] = {}
    for i, unit in enumerate(source.tolist()):
        seen[unit] = rank[i] = seen.get(unit, 0) + 1
    return _shares(source, rank)


def _shares(source: npt.NDArray[np.int64], weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    total = np.zeros(int(source.max()) + 1)
    np.add.at(total, source, weight)
    shares: npt.NDArray[np.float64] = weight / total[source]
    return shares
