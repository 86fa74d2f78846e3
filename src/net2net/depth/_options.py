"""How new blocks and layers are made: the options of a growth in depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

from net2net.depth._layers import Kernel
from net2net.depth._order import INITS, PRESERVING, Positions
from net2net.errors import OptionError
from net2net.plan import check_seed


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
        check_seed(self.seed)

    def appended(self) -> DepthOptions | None:
        """The same with new blocks after all others, so that none gets another place; None where that was not left
        open."""
        return replace(self, positions="append") if self.positions is None and self.init in PRESERVING else None
