"""The operations of random networks that torch has no module for.

Axes and positions are counted from the end: a number below 0 can't be taken for a size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Add(nn.Module):
    """The sum of its operands."""

    def forward(self, *operands: Tensor) -> Tensor:
        return sum(operands[1:], start=operands[0])


class Multiply(nn.Module):
    """The product of two operands."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left * right


class Concatenate(nn.Module):
    """Operands laid end to end along an axis."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, *operands: Tensor) -> Tensor:
        return torch.cat(operands, dim=self.dim)


class Part(nn.Module):
    """One of the parts of an axis: of `split` by a list of sizes."""

    def __init__(self, sizes: tuple[int, ...], index: int, dim: int) -> None:
        super().__init__()
        self.sizes, self.index, self.dim = sizes, index, dim

    def forward(self, x: Tensor) -> Tensor:
        return x.split(self.sizes, dim=self.dim)[self.index]


class Half(nn.Module):
    """The first or the second half of an axis, by `chunk`."""

    def __init__(self, second: bool, dim: int) -> None:
        super().__init__()
        self.second, self.dim = second, dim

    def forward(self, x: Tensor) -> Tensor:
        return x.chunk(2, dim=self.dim)[self.second]


class Rest(nn.Module):
    """What follows the first channels, by slicing."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.start :]


class Mean(nn.Module):
    """The mean over some axes."""

    def __init__(self, *dims: int, keepdim: bool = False) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=self.dims, keepdim=self.keepdim)


class ToTokens(nn.Module):
    """Positions of an image become tokens: (N, C, H, W) -> (N, H W, C)."""

    def __init__(self, by_permute: bool) -> None:
        super().__init__()
        self.by_permute = by_permute

    def forward(self, x: Tensor) -> Tensor:
        if self.by_permute:
            return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, x.shape[1])
        return x.flatten(2).transpose(1, 2)


class Swap(nn.Module):
    """Two axes change places, as around a token-mixing layer."""

    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(1, 2)


class Gain(nn.Module):
    """A learned gain, or a learned shift, along the last axis: a layer scale."""

    def __init__(self, width: int, adds: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width))
        self.adds = adds

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight if self.adds else x * self.weight


class Positions(nn.Module):
    """A learned table that is added to the tokens."""

    def __init__(self, length: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, length, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table


class Attention(nn.Module):
    """Self-attention in the ways that people write it.

    `projection` is "separate", "split" (one fused layer, split in three) or "reshape" (one fused layer, seen
    as (3, heads, head size), which needs as many key-value heads as heads); `fused` is torch's own operation
    instead of matmul, softmax, matmul.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        kv_heads: int,
        head_size: int,
        *,
        projection: str,
        fused: bool,
        bias: bool,
    ) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_size = heads, kv_heads, head_size
        self.projection, self.fused = projection, fused
        of_queries, of_keys = heads * head_size, kv_heads * head_size
        if projection == "separate":
            self.query = nn.Linear(width, of_queries, bias=bias)
            self.key = nn.Linear(width, of_keys, bias=bias)
            self.value = nn.Linear(width, of_keys, bias=bias)
        else:
            self.all = nn.Linear(width, of_queries + 2 * of_keys, bias=bias)
        self.out = nn.Linear(of_queries, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self._projected(x)
        if self.heads != self.kv_heads:
            repeats = self.heads // self.kv_heads
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        if self.fused:
            result = F.scaled_dot_product_attention(query, key, value)
        else:
            result = (query @ key.transpose(-1, -2) * self.head_size**-0.5).softmax(-1) @ value
        return self.out(result.transpose(1, 2).reshape(*x.shape[:2], -1))

    def _projected(self, x: Tensor) -> list[Tensor]:
        """Queries, keys and values, each (batch, heads, tokens, head size)."""
        if self.projection == "reshape":
            shape = (*x.shape[:2], 3, self.heads, self.head_size)
            return list(self.all(x).reshape(shape).permute(2, 0, 3, 1, 4))
        if self.projection == "separate":
            parts = [self.query(x), self.key(x), self.value(x)]
        else:
            of_keys = self.kv_heads * self.head_size
            parts = list(self.all(x).split([self.heads * self.head_size, of_keys, of_keys], dim=-1))
        counts = (self.heads, self.kv_heads, self.kv_heads)
        return [p.view(*x.shape[:2], n, self.head_size).transpose(1, 2) for p, n in zip(parts, counts, strict=True)]
