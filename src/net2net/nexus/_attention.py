"""Attention whose four projections are Nexus layers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from net2net.nexus._linear import NexusLinear, Norm

# Keys and values of the positions so far, each (batch, kv_heads, positions, head size).
Cache = tuple[torch.Tensor, torch.Tensor]


class NexusAttention(nn.Module):
    """Attention with grouped queries and rotary positions; queries, keys, values and output are `NexusLinear`.

    The inner sizes of each projection grow; the stream, the heads and so the cache stay.

    Args:
        width: of the stream.
        heads: of queries; `width` is a multiple of it.
        M, A: the inner sizes of every projection.
        kv_heads: of keys and values; by default as many as of queries.
        causal: whether a position sees only itself and those before it.
        rope: the base of the rotary positions, or None for none.
        norm: of the projections, see `NexusLinear`.

    Shape:
        (batch, positions, width) -> the same.

    Example:
        >>> layer = NexusAttention(16, 4, 20, 28, kv_heads=2)
        >>> layer(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        width: int,
        heads: int,
        M: int,
        A: int,
        *,
        kv_heads: int | None = None,
        causal: bool = True,
        rope: float | None = 10000.0,
        norm: Norm = "l2_fixed",
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.causal = heads, heads if kv_heads is None else kv_heads, causal
        if width % heads or self.heads % self.kv_heads:
            raise ValueError(
                f"width {width} must be a multiple of {heads} heads, and these of {self.kv_heads} kv_heads."
            )
        self.head_size = width // heads
        shared = self.head_size * self.kv_heads
        self.query = NexusLinear(width, M, A, width, norm)
        self.key = NexusLinear(width, M, A, shared, norm)
        self.value = NexusLinear(width, M, A, shared, norm)
        self.output = NexusLinear(width, M, A, width, norm)
        frequencies = None
        if rope is not None:
            frequencies = rope ** -(torch.arange(0, self.head_size, 2, dtype=torch.float32) / self.head_size)
        self.frequencies: torch.Tensor | None
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, positions, width) -> the same."""
        return self.with_cache(x, None)[0]

    def with_cache(self, x: torch.Tensor, cache: Cache | None) -> tuple[torch.Tensor, Cache]:
        """The output for further positions, and the keys and values of all positions so far."""
        batch, length = x.shape[:2]
        before = 0 if cache is None else cache[0].shape[2]
        query = self._rotated(self._split(self.query(x), self.heads), before)
        key = self._rotated(self._split(self.key(x), self.kv_heads), before)
        value = self._split(self.value(x), self.kv_heads)
        if cache is not None:
            key, value = torch.cat([cache[0], key], 2), torch.cat([cache[1], value], 2)
        mask = None
        if self.causal and cache is not None:
            mask = torch.ones(length, before + length, dtype=torch.bool, device=x.device).tril(before)
        mixed = F.scaled_dot_product_attention(
            query, key, value, mask, is_causal=self.causal and cache is None, enable_gqa=self.heads != self.kv_heads
        )
        return self.output(mixed.transpose(1, 2).reshape(batch, length, -1)), (key, value)

    def _split(self, x: torch.Tensor, heads: int) -> torch.Tensor:
        return x.view(*x.shape[:2], heads, self.head_size).transpose(1, 2)

    def _rotated(self, x: torch.Tensor, before: int) -> torch.Tensor:
        if self.frequencies is None:
            return x
        positions = torch.arange(before, before + x.shape[2], device=x.device, dtype=torch.float32)
        angles = torch.outer(positions, self.frequencies)
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        left, right = x.chunk(2, -1)
        return torch.cat([left * cos - right * sin, right * cos + left * sin], -1)
