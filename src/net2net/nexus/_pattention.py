"""Attention over tokens that are parameters: TokenFormer's projection, which grows by more tokens."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn


class Pattention(nn.Module):
    """`gelu(n(x K^T)) V` over `tokens` pairs of learned keys and values, in the place of a linear layer.

    Args:
        D: features of the input.
        tokens: how many parameter tokens; they grow: `net2net.widen(layer, {"keys[0]": 48}, x)`.
        out: features of the output; by default D.
        normalisation: "gelu_l2": scores are divided by their L2 norm and multiplied by `scale`, then go through a GELU;
            "l2_gelu": the GELU first. TokenFormer's.
        scale: the root of the number of tokens at the start, as in TokenFormer, and *kept* when tokens are added: with
            the root of the number there is then, more tokens would change the function.
        eps: is added to the norm.

    Shape:
        (..., D) -> (..., out).

    Source: TokenFormer (Wang et al., 2024), equations 5 and 6.

    Example:
        >>> import net2net
        >>> layer = Pattention(8, 16)
        >>> growth = net2net.widen(layer, {"keys": 24}, torch.randn(4, 8))
        >>> growth.student.keys.weight.shape, growth.student.scale
        (torch.Size([24, 8]), 4.0)
    """

    def __init__(
        self,
        D: int,
        tokens: int,
        out: int | None = None,
        normalisation: Literal["gelu_l2", "l2_gelu"] = "gelu_l2",
        scale: float | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if normalisation not in ("gelu_l2", "l2_gelu"):
            raise ValueError(f"normalisation={normalisation!r} is not known; use 'gelu_l2' or 'l2_gelu'.")
        self.normalisation, self.eps = normalisation, eps
        self.scale = math.sqrt(tokens) if scale is None else scale
        self.keys = nn.Linear(D, tokens, bias=False)
        self.values = nn.Linear(tokens, D if out is None else out, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., D) -> (..., out)."""
        scores = self.keys(x)
        scores = F.gelu(self._normed(scores)) if self.normalisation == "gelu_l2" else self._normed(F.gelu(scores))
        result: torch.Tensor = self.values(scores)
        return result

    def _normed(self, scores: torch.Tensor) -> torch.Tensor:
        length: torch.Tensor = torch.linalg.vector_norm(scores, dim=-1, keepdim=True)
        return scores / (length + self.eps) * self.scale
