"""A small causal language model of Nexus layers, saved and loaded without pickles."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from net2net.nexus._attention import Cache, NexusAttention
from net2net.nexus._linear import NexusLinear, Norm

_CONFIG, _WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class NexusConfig:
    """Sizes of a `NexusLM`. `M` and `A` are the inner sizes of all projections; the feed-forwards have them too."""

    vocabulary: int = 256
    width: int = 64
    heads: int = 4
    layers: int = 2
    M: int = 64
    A: int = 96
    kv_heads: int | None = None
    norm: Norm = "l2_fixed"
    rope: float | None = 10000.0


class NexusBlock(nn.Module):
    """Attention and a feed-forward of Nexus layers, each added to the stream behind an RMSNorm.

    Shape:
        (batch, positions, width) -> the same.
    """

    def __init__(self, config: NexusConfig) -> None:
        super().__init__()
        c = config
        self.attention_norm, self.feed_forward_norm = nn.RMSNorm(c.width), nn.RMSNorm(c.width)
        self.attention = NexusAttention(
            c.width, c.heads, c.M, c.A, kv_heads=c.kv_heads, causal=True, rope=c.rope, norm=c.norm
        )
        self.feed_forward = NexusLinear(c.width, c.M, c.A, c.width, c.norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, positions, width) -> the same."""
        return self.with_cache(x, None)[0]

    def with_cache(self, x: torch.Tensor, cache: Cache | None) -> tuple[torch.Tensor, Cache]:
        """The output for further positions, and the keys and values of all positions so far."""
        mixed, cache = self.attention.with_cache(self.attention_norm(x), cache)
        x = x + mixed
        return x + self.feed_forward(self.feed_forward_norm(x)), cache


class NexusLM(nn.Module):
    """A causal language model of `NexusBlock`s with tied embeddings.

    Shape:
        token ids (batch, positions) -> logits (batch, positions, vocabulary).

    Example:
        >>> import net2net
        >>> model = NexusLM(NexusConfig(vocabulary=50, width=16, heads=2, layers=1, M=12, A=20))
        >>> ids = torch.randint(0, 50, (2, 7))
        >>> growth = net2net.widen(model, {"blocks.*.first": 18, "blocks.*.second": "1.5x"}, ids)
        >>> growth.student.blocks[0].attention.query, growth.verification.passed
        (NexusLinear(16 -> 18 -> 30 -> 16, norm=l2_fixed), True)
    """

    def __init__(self, config: NexusConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(NexusBlock(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.vocabulary, bias=False)
        self.head.weight = self.embedding.weight
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(batch, positions) -> (batch, positions, vocabulary)."""
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x)
        logits: torch.Tensor = self.head(self.norm(x))
        return logits

    @torch.no_grad()
    def generate(self, ids: torch.Tensor, count: int) -> torch.Tensor:
        """Continue each row by its `count` most likely ids, one by one, with a cache.

        Args:
            ids: (batch, positions).
            count: of new ids.

        Returns:
            (batch, positions + count).
        """
        caches: list[Cache | None] = [None] * len(self.blocks)
        new = ids
        for _ in range(count):
            x = self.embedding(new)
            for i, block in enumerate(self.blocks):
                assert isinstance(block, NexusBlock)
                x, caches[i] = block.with_cache(x, caches[i])
            new = self.head(self.norm(x[:, -1:])).argmax(-1)
            ids = torch.cat([ids, new], 1)
        return ids

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config and weights to a folder; `from_pretrained` reads it."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        first = next(m for m in self.modules() if isinstance(m, NexusLinear))
        config = replace(self.config, M=first.first.out_features, A=first.second.out_features)
        state = {name: t.contiguous() for name, t in self.state_dict().items() if name != "head.weight"}
        (folder / _CONFIG).write_text(json.dumps({"model_type": "nexus", **asdict(config)}, indent=1) + "\n")
        save_file(state, folder / _WEIGHTS)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The model that `save_pretrained` wrote."""
        folder = Path(folder)
        config = json.loads((folder / _CONFIG).read_text())
        config.pop("model_type", None)
        model = cls(NexusConfig(**config))
        state = load_file(folder / _WEIGHTS)
        model.to(state["embedding.weight"].dtype).load_state_dict({**state, "head.weight": state["embedding.weight"]})
        return model
