"""How new blocks and layers are made: the options of a growth in depth."""

from __future__ import annotations

from dataclasses import dataclass

from net2net.depth._layers import Kernel
from net2net.depth._order import INITS, Positions
from net2net.errors import OptionError


@dataclass(frozen=True)
class DepthOptions:
    """How new blocks and layers are made, and where in a stack they go."""

    init: str = "identity"
    positions: Positions | None = None
    kernel: Kernel = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise OptionError(f"init={self.init!r} is not known; use one of {', '.join(INITS)}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise OptionError(f"seed={self.seed!r} is no seed; use an int from 0 to 2**63 - 1.")
