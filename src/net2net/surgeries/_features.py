"""What a surgery asks for at one input or output: its features before and after, by name or number."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from net2net.errors import OptionError, SizeError, UnknownNameError, described

Names = int | Sequence[str]
_WORDS = ("never", "lowest", "zero", "mean", "random")


@dataclass(frozen=True)
class Features:
    """The features of an input or output, before and after a surgery.

    Args:
        before, after: names of the places, or how many there are: names are then "0", "1", ... Names that are in both
            are the same feature, wherever it stands.
        constants: of an input, for each name that goes the constant that it has become.
        start: how new entries of an output begin: "never" (a logit so low that it's never chosen), "lowest" (a value as
            low as the lowest on the example inputs), "share:0.05" (a bias with which each is chosen that often on the
            example inputs), "zero", "copy:NAME", "mean" (of the old ones), or a number, the bias. Of new tokens of an
            input: "random" (default), "mean", "zero" or "copy:NAME".
        axis: the axis of the tensor that they stand along.
        frames: how many times all of them stand there, one frame after the other.
        statistics: of an input, for each new name its mean and variance, where they are known: running normalisers of
            the network begin with them, and with mean 0 and variance 1 for all others.

    Example:
        >>> Features(["x", "v"], ["x", "angle", "v"]).places(2, "'obs'").source.tolist()
        [0, -1, 1]
        >>> Features(1, 2, frames=3).places(3, "'obs'").source.tolist()
        [0, -1, 1, -1, 2, -1]
    """

    before: Names
    after: Names
    constants: Mapping[str, float] = field(default_factory=dict)
    start: str | float | None = None
    axis: int = -1
    frames: int = 1
    statistics: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for names in (self.before, self.after):
            _require_names(names)
        for name, number in self.constants.items():
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
                raise OptionError(f"constants[{name!r}] is {described(number)}; give the number that stands there.")
        if isinstance(self.frames, bool) or not isinstance(self.frames, int) or self.frames < 1:
            raise OptionError(f"frames={self.frames!r}; give how many frames there are, 1 or more.")
        _require_start(self.start)
        for name, pair in self.statistics.items():
            if str(name) not in self.new or str(name) in self.old:
                raise UnknownNameError(f"statistics= names {name!r}, which is no new feature.")
            _require_statistics(name, pair)
        self._known(self.constants, "constants=")
        if self.copied is not None:
            self._known([self.copied], "start=")

    @property
    def copied(self) -> str | None:
        """The name that new entries copy, if they copy one."""
        return self.start[5:] if isinstance(self.start, str) and self.start.startswith("copy:") else None

    @property
    def share(self) -> float | None:
        """The mean probability that each new entry begins with, if that is asked for."""
        return float(self.start[6:]) if isinstance(self.start, str) and self.start.startswith("share:") else None

    @property
    def old(self) -> list[str]:
        """The names before, in order."""
        return _names(self.before)

    @property
    def new(self) -> list[str]:
        """The names after, in order."""
        return _names(self.after)

    def _known(self, names: Iterable[str], where: str) -> None:
        for name in names:
            if str(name) not in self.old:
                raise UnknownNameError(
                    f"{where} names {name!r}, which is none of the features before: {self.old[:20]}."
                )

    def places(self, size: int, what: str) -> Places:
        """Where each place of the axis comes from.

        Args:
            size: of the axis, before.
            what: the input or output, for messages.

        Raises:
            SizeError: it has another size, or nothing would change.
        """
        old, new = self.old, self.new
        if len(old) * self.frames != size:
            several = f" x {self.frames} frames" if self.frames > 1 else ""
            raise SizeError(
                f"{what} has {size} places along axis {self.axis}; {len(old)} features{several} are named before. Name "
                "all that are there, or another axis (axis=)."
            )
        if old == new:
            raise SizeError(f"nothing would change at {what}: the features after are those before.")
        at = {name: place for place, name in enumerate(old)}
        one = np.array([at.get(name, -1) for name in new], dtype=np.int64)
        constants = {str(name): float(number) for name, number in self.constants.items()}
        numbers = np.array([constants.get(name, np.nan) for name in old])
        return Places(_repeated(one, len(old), self.frames), np.tile(numbers, self.frames), size)


@dataclass(frozen=True, eq=False)
class Places:
    """`source[i]` is the old place that place i is, -1 for a new one; `constants` has NaN where none is given."""

    source: npt.NDArray[np.int64]
    constants: npt.NDArray[np.float64]
    before: int

    @property
    def gone(self) -> npt.NDArray[np.int64]:
        """The old places that are there no longer."""
        return np.setdiff1d(np.arange(self.before), self.source)

    @property
    def new(self) -> npt.NDArray[np.int64]:
        """The places that are new."""
        return np.flatnonzero(self.source < 0)


def _repeated(source: npt.NDArray[np.int64], before: int, frames: int) -> npt.NDArray[np.int64]:
    starts = before * np.arange(frames)[:, None]
    return np.where(source < 0, -1, source + starts).ravel()


def _names(names: Names) -> list[str]:
    return [str(k) for k in range(names)] if isinstance(names, int) else list(names)


def _require_names(names: object) -> None:
    if isinstance(names, int) and not isinstance(names, bool) and names >= 1:
        return
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(n, str) for n in names):
        raise OptionError(f"features are {described(names)}; give their names, or how many there are (1 or more).")
    if not names:
        raise OptionError("there are no features; give at least one name.")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise OptionError(f"the name {twice[0]!r} stands twice among the features; every name is one feature.")


def _require_statistics(name: object, pair: object) -> None:
    numbers = list(pair) if isinstance(pair, Sequence) and not isinstance(pair, str) else []
    fits = len(numbers) == 2 and all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
    if not fits or numbers[1] <= 0:
        raise OptionError(f"statistics[{name!r}] is {described(pair)}; give its mean and its variance, above 0.")


def _require_start(start: object) -> None:
    if start is None or (isinstance(start, str) and (start in _WORDS or start.startswith("copy:"))):
        return
    if isinstance(start, (int, float)) and not isinstance(start, bool) and math.isfinite(start):
        return
    if isinstance(start, str) and start.startswith("share:"):
        with contextlib.suppress(ValueError):
            if 0 < float(start[6:]) < 1:
                return
    raise OptionError(
        f"start={start!r} is not known; use one of {', '.join(_WORDS)}, 'copy:NAME', 'share:0.05', or a number."
    )
