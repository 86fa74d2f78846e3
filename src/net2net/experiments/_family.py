"""A family of language models, to be trained in several ways: each alone, and as chains with different links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from net2net.experiments._language import LanguageShape


@dataclass(frozen=True)
class FamilyArm:
    """One way to train the family, or its largest model.

    Attributes:
        key, label: its name in the results, and for readers.
        init: how each model but the first begins.
        distils: whether the model before is its teacher.
        models: "all", or "ends" for the smallest and then the largest.
        budget: of the models but the first: "full", "falling", or "equal" (the largest gets the FLOPs that the chain
            with exact links takes in all).
    """

    key: str
    label: str
    init: str = "exact"
    distils: bool = False
    models: str = "all"
    budget: str = "falling"


ARMS = (
    FamilyArm("alone", "Each alone, full budget", "scratch", budget="full"),
    FamilyArm("equal", "The largest alone, with the FLOPs of the whole chain", "scratch", False, "ends", "equal"),
    FamilyArm("exact", "Chain, exact links"),
    FamilyArm("exact_distilled", "Chain, exact links, distillation", distils=True),
    FamilyArm("overlay", "Chain, overlay as published (q, k, v placed right)", "overlay"),
    FamilyArm("overlay_distilled", "Chain, overlay, distillation (as published)", "overlay", True),
    FamilyArm("short", "Short budgets, random initialisation", "scratch"),
    FamilyArm("short_distilled", "Short budgets, random initialisation, distillation", "scratch", True),
    FamilyArm("direct", "The largest from the smallest directly, exact", models="ends"),
    FamilyArm("direct_overlay", "The largest from the smallest directly, overlay", "overlay", models="ends"),
)


@dataclass(frozen=True)
class FamilySize:
    """How large everything is: the shapes, smallest first, the full budget in steps, and what part of it each model of
    a chain gets."""

    shapes: tuple[LanguageShape, ...]
    steps: int
    parts: tuple[float, ...]
    rates: tuple[float, ...]
    batch: int = 16
    length: int = 64
    windows: int = 512


SIZES: Mapping[str, FamilySize] = {
    "smoke": FamilySize((LanguageShape(16, 1, 8), LanguageShape(32, 1, 8)), 12, (1.0, 0.5), (8e-3,), 4, 16, 16),
    "cpu": FamilySize(
        tuple(LanguageShape(width, 2, 8) for width in (16, 32, 64, 128)),
        1000,
        (1.0, 0.4, 0.25, 0.15),
        (1.6e-2, 8e-3, 4e-3),
    ),
    "gpu": FamilySize(
        tuple(LanguageShape(width, 6, 64) for width in (128, 256, 512, 1024)),
        20_000,
        (1.0, 0.4, 0.25, 0.15),
        (4e-3, 2e-3, 1e-3, 5e-4),
        64,
        256,
    ),
}

# Two towers, of images and of captions: each shape is that of both.
TOWERS: Mapping[str, FamilySize] = {
    "smoke": FamilySize((LanguageShape(16, 1, 8), LanguageShape(32, 1, 8)), 12, (1.0, 0.5), (8e-3,), 16),
    "cpu": FamilySize(
        tuple(LanguageShape(width, 1, 8) for width in (16, 32, 64, 128)),
        300,
        (1.0, 0.4, 0.25, 0.15),
        (8e-3, 3e-3),
        64,
    ),
}
