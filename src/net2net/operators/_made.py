"""What a plan has made, before its proof; and how each kind of change is carried out on another network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import nn

from net2net.capture import Example
from net2net.errors import OptionError
from net2net.growth import Known
from net2net.plan import Plan, Widening


class Made(NamedTuple):
    """A student that a plan has made, and what its proof has to know."""

    student: nn.Module
    plan: Plan
    known: Known

    def after(self, earlier: Made | None) -> Made:
        """The same student as made by two growths, `earlier` and then this one."""
        if earlier is None:
            return self
        return Made(self.student, self.plan.after(earlier.plan), self.known.after(earlier.known))


Replay = Callable[[Plan, nn.Module, tuple[Example, ...]], Made]
_REPLAYS: dict[str, Replay] = {}


def replays(change: str) -> Callable[[Replay], Replay]:
    """Register what carries out, on another network, a plan whose changes are of this kind."""

    def register(function: Replay) -> Replay:
        _REPLAYS[change] = function
        return function

    return register


def replaying(step: Plan) -> Replay:
    """What carries out one step of a plan.

    Raises:
        OptionError: the step has changes of several kinds, or of one that nothing carries out.
    """
    kinds = {change.change for change in step.changes} or {Widening.change}  # nothing has grown
    found = [_REPLAYS[kind] for kind in kinds if kind in _REPLAYS]
    if len(found) != len(kinds) or len(found) != 1:
        raise OptionError(f"a plan with changes of the kinds {sorted(kinds)} in one step can't be replayed.")
    return found[0]
