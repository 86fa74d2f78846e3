"""A small language model in the style of Llama: RMSNorm before each branch, rotary positions, a gated feed-forward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class LanguageShape:
    """How large a language model is: channels of the stream, blocks, channels of a head."""

    width: int
    layers: int
    head: int = 16

    @property
    def feed_forward(self) -> int:
        """Width of the gated feed-forward: 8/3 of the stream, so that a block has 12 times its square of weights."""
        return 8 * self.width // 3


class Attention(nn.Module):
    """Self-attention with rotary positions."""

    def __init__(self, shape: LanguageShape, causal: bool = True) -> None:
        super().__init__()
        self.head, self.causal = shape.head, causal
        self.query, self.key, self.value, self.output = (
            nn.Linear(shape.width, shape.width, bias=False) for _ in range(4)
        )

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape

        def heads(layer: nn.Linear) -> torch.Tensor:
            found: torch.Tensor = layer(x)
            return found.view(batch, length, -1, self.head).transpose(1, 2)

        def turned(t: torch.Tensor) -> torch.Tensor:
            left, right = t.chunk(2, dim=-1)
            return t * cosine + torch.cat([-right, left], dim=-1) * sine

        mixed = nn.functional.scaled_dot_product_attention(
            turned(heads(self.query)), turned(heads(self.key)), heads(self.value), is_causal=self.causal
        )
        result: torch.Tensor = self.output(mixed.transpose(1, 2).reshape(batch, length, -1))
        return result


class FeedForward(nn.Module):
    """SwiGLU: a gate times a projection, and back."""

    def __init__(self, shape: LanguageShape) -> None:
        super().__init__()
        self.gate, self.up = (nn.Linear(shape.width, shape.feed_forward, bias=False) for _ in range(2))
        self.down = nn.Linear(shape.feed_forward, shape.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.down(nn.functional.silu(self.gate(x)) * self.up(x))
        return result


class Block(nn.Module):
    """Attention and feed-forward, each added to the stream."""

    def __init__(self, shape: LanguageShape, causal: bool = True) -> None:
        super().__init__()
        self.attention_norm, self.feed_forward_norm = (nn.RMSNorm(shape.width, eps=1e-6) for _ in range(2))
        self.attention, self.feed_forward = Attention(shape, causal), FeedForward(shape)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x), cosine, sine)
        result: torch.Tensor = x + self.feed_forward(self.feed_forward_norm(x))
        return result


class Language(nn.Module):
    """The model: logits (batch x length x vocabulary) of the next token for each of the ids (batch x length).

    Example:
        >>> Language(LanguageShape(32, 2), vocabulary=60)(torch.zeros(3, 7, dtype=torch.int64)).shape
        torch.Size([3, 7, 60])
    """

    frequencies: torch.Tensor

    def __init__(self, shape: LanguageShape, vocabulary: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)
        self.classify = nn.Linear(shape.width, vocabulary, bias=False)
        frequencies = 10_000.0 ** -(torch.arange(0, shape.head, 2) / shape.head)
        self.register_buffer("frequencies", frequencies.repeat(2), persistent=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        angles = torch.arange(ids.shape[1], device=ids.device)[:, None] * self.frequencies
        cosine, sine = angles.cos(), angles.sin()
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, cosine, sine)
        logits: torch.Tensor = self.classify(self.norm(x))
        return logits
