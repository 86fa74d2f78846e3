"""Projections that grow inside, in stages, against no growth, dead growth, and the final size from scratch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from net2net.experiments._courses import Course, Stage
from net2net.nexus import NexusConfig, NexusLinear, NexusLM, Pattention


@dataclass(frozen=True)
class NexusShape:
    """How large a language model of growable projections is.

    Attributes:
        width, heads, layers: of the model; they stay.
        M, A: the inner sizes of its Nexus layers.
        tokens: with a number, its projections are TokenFormer's instead, with so many tokens.
    """

    width: int
    heads: int
    layers: int
    M: int
    A: int
    tokens: int | None = None

    def build(self, vocabulary: int) -> nn.Module:
        """A model with random weights."""
        model = NexusLM(NexusConfig(vocabulary, self.width, self.heads, self.layers, self.M, self.A))
        if self.tokens is not None:
            for module in list(model.modules()):
                for name, layer in list(module.named_children()):
                    if isinstance(layer, NexusLinear):
                        taken = Pattention(layer.first.in_features, self.tokens, layer.third.out_features)
                        setattr(module, name, taken)
        return model


@dataclass(frozen=True)
class NexusSize:
    """How large everything is.

    Attributes:
        width, heads, layers: of the language model.
        inner: M and A at the start and after each growth; the first starves the model.
        steps: of a course of length 1; the growths cut it into equal stages.
        rates: to choose from, for every arm.
        batch, length: of the text, in windows and in bytes.
        windows: of the held-out text.
    """

    width: int
    heads: int
    layers: int
    inner: tuple[tuple[int, int], ...]
    steps: int
    rates: tuple[float, ...]
    batch: int = 16
    length: int = 64
    windows: int = 512

    def shape(self, stage: int, tokens: bool = False) -> NexusShape:
        """The model after so many growths; with as many parameters in tokens."""
        m, a = self.inner[stage]
        count = round((self.width * m + m * a + a * self.width) / (2 * self.width)) if tokens else None
        return NexusShape(self.width, self.heads, self.layers, m, a, count)


SIZES: Mapping[str, NexusSize] = {
    "smoke": NexusSize(8, 2, 1, ((8, 8), (10, 12), (12, 16), (14, 20)), 8, (8e-3,), 2, 8, 8),
    "cpu": NexusSize(32, 4, 2, ((32, 32), (48, 64), (64, 112), (96, 192)), 700, (1.6e-2, 8e-3, 4e-3)),
    "gpu": NexusSize(256, 8, 6, ((256, 256), (384, 512), (512, 896), (768, 1536)), 20_000, (4e-3, 2e-3, 1e-3), 64, 256),
}
GROWN, STAY, DEAD, FULL, EQUAL, TOKENS = "grown", "no-growth", "all-zero", "scratch", "scratch-equal", "tokenformer"


def courses(size: NexusSize, flops: Sequence[float]) -> tuple[Course, ...]:
    """All arms. Those that stop after a stage, with a decay of their own, are the points of the growth law.

    Args:
        size: of everything.
        flops: of a step at each stage.
    """
    last = len(size.inner) - 1
    equal = sum(flops) / (len(flops) * flops[-1])

    def grown(key: str, label: str, stages: int, rate_of: str, tokens: bool = False, **options: Any) -> Course:
        growths = []
        for k in range(1, stages + 1):
            shape = size.shape(k, tokens)
            wanted = {"blocks.*.first": shape.M, "blocks.*.second": shape.A}
            sizes = wanted if shape.tokens is None else {"blocks.*.keys": shape.tokens}
            growths.append(Stage(k / (stages + 1), {"sizes": sizes, **options}, again=False))
        return Course(key, label, size.shape(0, tokens), tuple(growths), rate_of, (stages + 1) / (last + 1))

    times = ("no growth", "one growth", "two growths")
    return (
        grown(GROWN, "M and A grown in stages, zeros on the way in", last, GROWN),
        Course(STAY, "no growth", size.shape(0), (), STAY),
        grown(DEAD, "grown with zeros everywhere, as printed: dead", last, STAY, how="all_zero"),
        Course(FULL, "final size from scratch, all steps", size.shape(last), (), FULL),
        Course(EQUAL, "final size from scratch, equal FLOPs", size.shape(last), (), EQUAL, equal),
        grown(TOKENS, "TokenFormer's tokens grown in stages", last, TOKENS, True),
        *(grown(stage_key(k), f"stopped after stage {k + 1}: {times[k]}", k, GROWN) for k in range(last)),
    )


def stage_key(stage: int) -> str:
    """The course that stops after a stage, from 0."""
    return f"stage-{stage}"
