"""Ways to get a mixture with more experts out of one that is trained, and a mixture out of a dense network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from net2net.experiments._language import LanguageShape

MIXTURE, DENSE, LARGE = "mixture", "dense", "large"


@dataclass(frozen=True)
class ExpertArm:
    """One way to go on from a trained network, or to do without.

    Attributes:
        key, label: its name in the results, and for readers.
        teacher: "mixture" or "dense"; "" from scratch.
        options: of `net2net.upcycle`; None where the teacher trains on as it is.
        scored: whether experts get replicas by their utility.
    """

    key: str
    label: str
    teacher: str = MIXTURE
    options: Mapping[str, Any] | None = field(default_factory=dict)
    scored: bool = False


FIXED, SCRATCH, DENSE_ON = "fixed", "scratch", "dense_on"
_FREE, _RANDOM = {"routing": "free"}, {"routing": "free", "redrawn": 1.0}
ARMS = (
    ExpertArm(FIXED, "fixed E, trained on", options=None),
    ExpertArm(SCRATCH, "fixed mE, from scratch", "", None),
    ExpertArm("random", "random new experts, free routing", options=_RANDOM),
    ExpertArm("free", "uniform copies, free routing", options=_FREE),
    ExpertArm("free_utility", "utility copies, free routing", options=_FREE, scored=True),
    ExpertArm("replica", "uniform copies, replica routing"),
    ExpertArm("replica_utility", "utility copies, replica routing", scored=True),
    ExpertArm("raise_k", "uniform copies, K -> mK", options={"routing": "raise_k"}),
    ExpertArm(DENSE_ON, "dense, trained on", DENSE, None),
    ExpertArm("dense_copies", "dense -> mixture of copies", DENSE, {"top_k": 2}),
    ExpertArm("dense_parts", "dense -> mixture of halves (equal compute)", DENSE, {"top_k": 2, "granularity": 2}),
)


@dataclass(frozen=True)
class ExpertSize:
    """How large everything is.

    Attributes:
        shape: of the language model; an expert has half of the units of a dense feed-forward.
        steps: of a teacher, and again of what comes after it; from scratch both together.
        rates: to choose from, for teachers and for every arm.
        experts: of the mixture, E, and after the growth, mE.
        top_k: how many compute a token.
        batch, length: of the text, in windows and in bytes.
        windows: of the held-out text.
        scoring: batches for the utility of experts.
    """

    shape: LanguageShape
    steps: int
    rates: tuple[float, ...]
    experts: tuple[int, int] = (8, 16)
    top_k: int = 2
    batch: int = 16
    length: int = 64
    windows: int = 512
    scoring: int = 10


SIZES: Mapping[str, ExpertSize] = {
    "smoke": ExpertSize(LanguageShape(6, 1, 6), 4, (8e-3,), (4, 8), 2, 2, 8, 8, 2),
    "cpu": ExpertSize(LanguageShape(48, 2, 16), 600, (1.6e-2, 8e-3, 4e-3)),
    "gpu": ExpertSize(LanguageShape(512, 6, 64), 20_000, (2e-3, 1e-3, 5e-4), batch=64, length=256),
}
