"""How new blocks and layers are made: the options of a growth in depth."""

from __future__ import annotations

from dataclasses import dataclass

from net2net.depth._layers import Kernel
from net2net.depth._order import INITS, Positions
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
