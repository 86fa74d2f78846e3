"""Where the new units of a growth stand in its parameters, as data."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


def _none() -> Places:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class NewUnits:
    """The new units of one dimension along one axis of a tensor, and the old ones there: of copies, what they copy.

    Where `axis` is None all of the tensor is new, and beside it stands the one that it `copies`. Of `routed` units a
    router chooses which are used, so that how large their gradients are says how often that was.
    """

    tensor: str
    dimension: str = ""
    axis: int | None = None
    new: Places = field(default_factory=_none, repr=False)
    old: Places = field(default_factory=_none, repr=False)
    copies: str = ""
    routed: bool = False
