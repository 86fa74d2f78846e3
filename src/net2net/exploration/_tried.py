"""One trial of a search, read from its storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from net2net.exploration._cost import Cost
from net2net.exploration._space import Architecture, Space

# What became of a trial; "ended" is one whose worker was killed: its values are tried again.
TRAINED, PRUNED, REFUSED, LIMITED, FAILED, ENDED, RUNNING, SPARE = (
    "trained", "pruned", "refused", "beyond a limit", "failed", "ended", "running", "not needed",
)  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """A trial.

    Attributes:
        number: in the study.
        outcome: "trained", "pruned", "refused" (the growth can't be done exactly), "beyond a limit", "failed" (what the
            user's function raised), "ended" (its worker was killed; its values are tried again), "not needed" (others
            had begun the last trials) or "running".
        reason: of a refusal or a failure, in words.
        architecture: the value of each knob.
        parent: the trial whose network was grown; None for the teacher, or where weights were random.
        growths: what was grown of the parent, one after the other, as keyword arguments of `net2net.grow`, or as
            "experts" of `net2net.upcycle`.
        score: what `train` returned.
        cost: of the network, where it was measured.
        compute: floating-point operations of its training.
        model: the name of its folder, where it was kept.
        values: parameters that the user's function asked the trial for.
    """

    number: int
    outcome: str
    reason: str
    architecture: Architecture
    parent: int | None
    growths: tuple[dict[str, dict[str, int]], ...]
    score: float | None
    cost: Cost | None
    compute: float
    model: str
    values: Mapping[str, Any]

    @property
    def counts(self) -> bool:
        """Whether it is one of the trials that were asked for: it was trained, if not to its end."""
        return self.outcome in (TRAINED, PRUNED, FAILED)


def tried(trial: Any, space: Space) -> Tried:
    """What the storage has of a trial (an Optuna FrozenTrial)."""
    attrs, state = trial.user_attrs, trial.state.name
    outcome = attrs.get("outcome", ENDED)
    if state in ("RUNNING", "WAITING"):
        outcome = RUNNING
    elif state == "FAIL" and outcome != FAILED:
        outcome = ENDED
    cost = attrs.get("cost")
    return Tried(
        trial.number,
        outcome,
        attrs.get("reason", ""),
        {name: value for name, value in trial.params.items() if name in space},
        attrs.get("parent"),
        tuple(attrs.get("growths", ())),
        trial.values[0] if outcome == TRAINED else None,
        Cost(**cost) if cost else None,
        attrs.get("compute", 0.0),
        attrs.get("model", ""),
        {name: value for name, value in trial.params.items() if name not in space},
    )


def lineage(trial: Tried, trials: Mapping[int, Tried]) -> tuple[Tried, ...]:
    """A trial's ancestors and itself, the one that was grown from the teacher first."""
    found = [trial]
    while found[0].parent is not None:
        found.insert(0, trials[found[0].parent])
    return tuple(found)


def front(trials: Iterable[Tried], sign: int) -> tuple[Tried, ...]:
    """Those that no other trial beats in score and operations for a sample together, the cheapest first.

    Args:
        trials: of any outcome.
        sign: 1 where a lower score is better, -1 where a higher one is.
    """
    done = [t for t in trials if t.score is not None and t.cost is not None]
    best: list[Tried] = []
    for one in sorted(done, key=lambda t: (t.cost.flops if t.cost else 0.0, sign * (t.score or 0.0), t.number)):
        if not best or sign * (one.score or 0.0) < sign * (best[-1].score or 0.0):
            best.append(one)
    return tuple(best)


def grown_in_words(trial: Tried) -> str:
    """What a trial grew of its parent."""
    parts = [
        f"{name} +{value}" if kind == "where" else f"{name} to {value}"
        for growth in trial.growths
        for kind, request in growth.items()
        for name, value in request.items()
    ]
    return ", ".join(parts[:3]) + (f", {len(parts) - 3} more" if len(parts) > 3 else "") if parts else "nothing"
