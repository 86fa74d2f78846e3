"""Something new is let in little by little, and back out where a score drops."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Protocol

from net2net.errors import OptionError


class Stateful(Protocol):
    """What has a state that can be gone back to: a network, an optimizer."""

    def state_dict(self) -> dict[str, Any]:
        """Its state."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Go to a state."""


class Anneal:
    """The share of something new, from 0 to 1: of the games with a new rule, of the steps with a new action.

    Call `step` after each step of training, with a score wherever one was measured. Where a score is well below the
    best one, the share goes back to where it was at the last good score, and from there on at half the rate.

    Args:
        steps: over how many steps the share goes from 0 to 1.
        tolerance: by which part of its size a score may be below the best one.
        keep: a network, an optimizer, ...: they go back too, to what they were at the last good score. A copy of their
            states is kept.

    Raises:
        OptionError: a number is none of these.

    Source: OpenAI et al. (2019), appendix B: new actions and rules are annealed, and a drop in skill reverts them.

    Example:
        >>> anneal = Anneal(steps=4)
        >>> [anneal.step(), anneal.step(score=10.0)]
        [0.25, 0.5]
        >>> anneal.step(), anneal.step(score=8.0), anneal.step()  # a drop: back to 0.25, on at half the rate
        (0.75, 0.25, 0.375)
    """

    def __init__(self, steps: int, *, tolerance: float = 0.05, keep: Sequence[Stateful] = ()) -> None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise OptionError(f"steps={steps!r}; give over how many steps the share goes from 0 to 1.")
        if not 0 <= tolerance < math.inf:
            raise OptionError(f"tolerance={tolerance!r}; give the part of a score by which it may drop, 0 or more.")
        self.share, self.rate, self.tolerance = 0.0, 1.0 / steps, tolerance
        self.best: float | None = None
        self._good = 0.0
        self._keep = tuple(keep)
        self._states = self._copied()

    @property
    def done(self) -> bool:
        """Whether all of it is in."""
        return self.share >= 1.0

    def step(self, score: float | None = None) -> float:
        """Take one step; `score`, the higher the better, is of the share so far.

        Returns:
            The share from now on.
        """
        if score is not None and self._drops(score):
            self.share, self.rate = self._good, self.rate / 2
            for one, state in zip(self._keep, self._states, strict=True):
                one.load_state_dict(copy.deepcopy(state))
            return self.share
        if score is not None:
            self.best = score if self.best is None else max(self.best, score)
            self._good, self._states = self.share, self._copied()
        self.share = min(1.0, self.share + self.rate)
        return self.share

    def _drops(self, score: float) -> bool:
        return math.isnan(score) or (self.best is not None and score < self.best - self.tolerance * abs(self.best))

    def _copied(self) -> list[dict[str, Any]]:
        return [copy.deepcopy(one.state_dict()) for one in self._keep]

    def state_dict(self) -> dict[str, Any]:
        """What a run that was stopped needs to go on."""
        return {"share": self.share, "rate": self.rate, "best": self.best, "good": self._good, "states": self._states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where `state_dict` was taken."""
        self.share, self.rate, self.best = state["share"], state["rate"], state["best"]
        self._good, self._states = state["good"], state["states"]
