"""Random networks, and random requests to grow them.

Everything is drawn from one `random.Random`: hypothesis gives one that it can shrink, a fixed seed gives the
same network for ever.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from torch import nn

from net2net.analysis import Analysis
from net2net.analysis._dimensions import Dimension
from random_blocks import BLOCKS, finish
from random_program import VOCABULARY, Program, Writer

_BATCH = 3


def write(draw: random.Random) -> Program:
    """A random program."""
    kind = draw.choice(["image", "image", "vector", "tokens", "ids"])
    shape = {
        "image": (_BATCH, draw.choice([1, 2, 3]), draw.randint(4, 6), draw.randint(4, 6)),
        "vector": (_BATCH, draw.randint(2, 6)),
        "tokens": (_BATCH, draw.randint(3, 5), draw.randint(2, 6)),
        "ids": (_BATCH, draw.randint(3, 5)),
    }[kind]
    writer = Writer(draw, shape, kind == "ids")
    at = 0
    if kind == "ids":
        at = writer.put(0, nn.Embedding, VOCABULARY, writer.some_width())
    for _ in range(draw.randint(2, 8)):
        at = draw.choice(BLOCKS[len(writer.shapes[at])])(writer, at)
    finish(writer, at)
    return Program(shape, kind == "ids", tuple(writer.steps))


@dataclass(frozen=True)
class Wish:
    """A request to grow: every dimension by a `factor`, or those that `picks` choose by (number, size)."""

    factor: float | None
    picks: tuple[tuple[int, str], ...]
    how: str | None = None
    shares: str = "uneven"
    noise: str | None = None
    seed: int = 0

    def sizes(self, analysis: Analysis) -> float | dict[str, int]:
        """The sizes to ask for."""
        if self.factor is not None:
            return self.factor
        growable = analysis.growable()
        chosen = [(growable[number % len(growable)], size) for number, size in self.picks if growable]
        return {dimension.name: _size(dimension, size) for dimension, size in chosen}

    @property
    def options(self) -> dict[str, Any]:
        """The other arguments of `net2net.widen`."""
        return {"how": self.how, "shares": self.shares, "noise": self.noise, "seed": self.seed}


def _size(dimension: Dimension, wanted: str) -> int:
    n = dimension.size
    if dimension.growth == "multiple" and wanted in ("almost twice", "prime"):
        wanted = "twice"
    prime = next(p for p in range(n + 1, 3 * n + 3) if all(p % d for d in range(2, p)))
    return {
        "one more": n + 1,
        "almost twice": max(2 * n - 1, n + 1),
        "twice": 2 * n,
        "thrice": 3 * n,
        "prime": prime,
    }[wanted]


def wish(draw: random.Random) -> Wish:
    """A random request."""
    sizes = ["one more", "almost twice", "twice", "thrice", "prime"]
    picks = tuple((draw.randint(0, 11), draw.choice(sizes)) for _ in range(draw.randint(1, 3)))
    return Wish(
        draw.choice([None, None, 1.5, 2.0, 3.0]),
        picks,
        draw.choice([None, None, "split", "zero_out", "pair"]),
        draw.choice(["uneven", "even"]),
        draw.choice([None, "zero_sum"]),
        draw.randint(0, 3),
    )


def cases() -> st.SearchStrategy[tuple[Program, Wish]]:
    """Random networks with random requests."""
    return st.randoms(use_true_random=False).map(case)


def case(draw: random.Random) -> tuple[Program, Wish]:
    """One random network with one random request."""
    return write(draw), wish(draw)
