"""How new units are made: the options of a growth in width."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from net2net.errors import OptionError
from net2net.plan import check_seed
from net2net.width._units import how_of

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


@dataclass(frozen=True)
class WidthOptions:
    """How new units are made. `how=None` is the default: "zero_out" where a dimension allows it, else "split".

    `ways` says for some dimensions how instead.
    """

    how: str | None = None
    shares: str = "uneven"
    noise: str | NoiseSpec | None = None
    seed: int = 0
    ways: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.how is not None:
            how_of(self.how)
        if self.shares not in ("uneven", "even"):
            raise OptionError(f"shares={self.shares!r} is not known; use 'uneven' or 'even'.")
        NoiseSpec.of(self.noise)
        check_seed(self.seed)
