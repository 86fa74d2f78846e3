"""Which network next: one of the best so far, with one or two knobs further."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from net2net.exploration._space import Architecture, Space, fits_into, smallest
from net2net.exploration._tried import LIMITED, TRAINED, Tried, front

_ANY_PARENT = 0.2  # how often not one of the best is grown, so that no early luck decides
_BEST = 0.25  # so much of the population is "the best"
_TWO_KNOBS = 0.3
_TRIES = 50


def next_architecture(
    space: Space, trials: Sequence[Tried], sign: int, draw: random.Random, *, cheap_too: bool
) -> Architecture:
    """A network to try: one of the best, or sometimes of all, with one or two of its knobs at a further value.

    Growing nothing is a choice like any knob: the parent trains on. What was tried or refused is not asked for again,
    nor what is at least as large everywhere as a network that was beyond a limit.

    Args:
        space: the knobs.
        trials: all so far.
        sign: 1 where a lower score is better, -1 where a higher one is.
        draw: makes the choices.
        cheap_too: the best ones are those of the front of score and operations.

    Example:
        >>> from net2net.exploration._space import Knob
        >>> space = {"0": Knob("0", "width", ("0",), (8, 12, 16))}
        >>> next_architecture(space, [], 1, random.Random(0), cheap_too=False)["0"] in (8, 12)
        True
    """
    done = sorted((t for t in trials if t.outcome == TRAINED), key=lambda t: sign * (t.score or 0.0))
    best = list(front(done, sign)) if cheap_too else done[: max(2, round(_BEST * len(done)))]
    beyond = [t.architecture for t in trials if t.outcome == LIMITED]
    known = [t.architecture for t in trials]
    parent = smallest(space)
    for _ in range(_TRIES):
        pool = done if draw.random() < _ANY_PARENT else best
        parent = dict(draw.choice(pool).architecture) if pool else smallest(space)
        child = _further(parent, space, draw)
        if child == parent or not (child in known or any(fits_into(b, child) for b in beyond)):
            return child
    return parent


def _further(parent: Architecture, space: Space, draw: random.Random) -> Architecture:
    """The parent with one or two knobs at their next value, rarely at a later one; or as it is."""
    child = dict(parent)
    room = [name for name, knob in space.items() if parent[name] < knob.choices[-1]]
    count = 2 if draw.random() < _TWO_KNOBS else 1
    for name in draw.sample([*room, ""], min(count, len(room) + 1)):
        if name:
            later = [choice for choice in space[name].choices if choice > parent[name]]
            child[name] = later[0] if draw.random() < 0.75 else draw.choice(later)
    return child


class GrowthSampler(BaseSampler):
    """Optuna's interface to `next_architecture`. What else the user's function asks a trial for is drawn at random.

    Draws follow the seed and the number of the trial, whichever worker makes it.
    """

    def __init__(self, space: Space, trials: Callable[[], Sequence[Tried]], sign: int, seed: int, cheap_too: bool):
        self._space, self._trials, self._sign, self._seed, self._cheap_too = space, trials, sign, seed, cheap_too

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The knobs."""
        return {name: CategoricalDistribution(knob.choices) for name, knob in self._space.items()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: Mapping[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The value of each knob."""
        draw = random.Random(f"{self._seed} {trial.number}")
        return dict(next_architecture(self._space, self._trials(), self._sign, draw, cheap_too=self._cheap_too))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value for something else."""
        seed = random.Random(f"{self._seed} {trial.number} {param_name}").randrange(2**31)
        return RandomSampler(seed=seed).sample_independent(study, trial, param_name, param_distribution)
