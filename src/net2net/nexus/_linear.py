"""A projection of three stages, D -> M -> A -> out, in the place of a linear layer."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

Norm = Literal["l2_fixed"] | None


class NexusLinear(nn.Module):
    """`W2 gelu(n(W1 gelu(n(W0 x))))`, whose inner sizes M and A grow by `net2net.widen`.

    Args:
        D: features of the input.
        M, A: the inner sizes, which can grow.
        out: features of the output; by default D.
        norm: "l2_fixed": each inner value is divided by its L2 norm and multiplied by the root of `out`, which doesn't
            change with M or A. So new units that start at 0 leave it as it is; the growth puts zeros on the way in
            (`how="zero_in"`). None: no norm, and new units may be silent on either side.
        eps: is added to the norm.

    Shape:
        (..., D) -> (..., out).

    Source: Nexusformer, as released. The printed form has no norm, and its growth with zeros in all new blocks is dead.

    Example:
        >>> import net2net
        >>> layer = NexusLinear(8, 12, 20)
        >>> growth = net2net.widen(layer, {"first": 17, "second": 31}, torch.randn(4, 8))
        >>> growth.student, [w.how for w in growth.plan.widenings]
        (NexusLinear(8 -> 17 -> 31 -> 8, norm=l2_fixed), ['zero_in', 'zero_in'])
    """

    def __init__(
        self, D: int, M: int, A: int, out: int | None = None, norm: Norm = "l2_fixed", eps: float = 1e-5
    ) -> None:
        super().__init__()
        if norm not in ("l2_fixed", None):
            raise ValueError(f"norm={norm!r} is not known; use 'l2_fixed' or None.")
        self.norm, self.eps, self.scale = norm, eps, math.sqrt(D if out is None else out)
        self.first = nn.Linear(D, M, bias=False)
        self.second = nn.Linear(M, A, bias=False)
        self.third = nn.Linear(A, D if out is None else out, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., out)."""
        x = F.gelu(self._normed(self.first(x)))
        x = F.gelu(self._normed(self.second(x)))
        result: torch.Tensor = self.third(x)
        return result

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm is None:
            return x
        length: torch.Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / (length + self.eps) * self.scale

    def __repr__(self) -> str:
        sizes = (self.first.in_features, self.first.out_features, self.second.out_features, self.third.out_features)
        return f"NexusLinear({' -> '.join(map(str, sizes))}, norm={self.norm})"
