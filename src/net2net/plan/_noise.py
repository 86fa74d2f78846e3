"""Noise that keeps the copies of a unit from staying twins."""

from __future__ import annotations

import math
from dataclasses import dataclass

from net2net.errors import OptionError

NOISES = ("zero_sum", "paper")


@dataclass(frozen=True)
class NoiseSpec:
    """A kind of noise and its scale relative to a tensor's root mean square.

    "zero_sum" is added to the outgoing weights of copies and sums to zero over them, so the function stays exact
    (0.3 is the 10 dB of HyperCloning). "paper" is added to the incoming weights of all copies but the first, as in
    Chen et al. (2016), section 2.2; the function is then only approximately preserved.

    Example:
        >>> NoiseSpec("zero_sum", 0.1)
        NoiseSpec(kind='zero_sum', scale=0.1)
    """

    kind: str
    scale: float

    @staticmethod
    def of(noise: str | NoiseSpec | None) -> NoiseSpec | None:
        """The noise that the option `noise` means."""
        if noise is None or isinstance(noise, NoiseSpec):
            found = noise
        elif noise in NOISES:
            found = NoiseSpec(noise, 0.3 if noise == "zero_sum" else 0.01)
        else:
            found = NoiseSpec(str(noise), 0.0)
        if found is not None and (found.kind not in NOISES or not 0 <= found.scale < math.inf):
            raise OptionError(f"noise={noise!r} is not known; use None, 'zero_sum', 'paper' or a NoiseSpec of these.")
        return found
