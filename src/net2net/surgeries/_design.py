"""From a request to a design: the axes that change, how new places begin, and the plan. No weight is read for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn

from net2net.analysis import Analysis, analyze_modes
from net2net.axes import Atom, Opened
from net2net.capture import Example, Graph, with_inputs
from net2net.errors import FixedDimensionError, GrowthError, OptionError
from net2net.plan import Plan
from net2net.proof import Interface, Port
from net2net.surgeries._changed import Changed, changed_axes
from net2net.surgeries._plan import surgery_plan
from net2net.surgeries._ports import Wanted, Wish, opened, wishes
from net2net.surgeries._starts import Given, start_of

Result = TypeVar("Result")


class Design(NamedTuple):
    """A plan for other inputs and outputs, and what it was made of."""

    analysis: Analysis
    changed: dict[Atom, Changed]
    wished: list[Wish]
    plan: Plan

    @property
    def interface(self) -> Interface:
        """Which inputs and outputs the student has otherwise."""
        return interface_of(self.wished)


def designed(
    model: nn.Module,
    examples: tuple[Example, ...],
    features: Wanted,
    outputs: Wanted,
    seed: int,
    make: Callable[[Design], Result],
    given: Callable[[], Given],
) -> Result:
    """What `make` makes of the design of a surgery: of the first one that it can make something of.

    Args:
        model: the teacher; its weights may be on the meta device.
        examples: of its calls.
        features, outputs, seed: as for `surgery`.
        make: takes a design; a GrowthError says that it doesn't fit.
        given: gives what the teacher gives back for each example.

    Raises:
        GrowthError: as for `surgery`.
    """
    analysis, wished = analysed(model, examples, features, outputs)
    require_constants(model, examples, wished)
    given, refusal = cache(given), None
    for later in (False, True):  # new places between two parts of an axis may belong to either
        try:
            changed = changed_axes(analysis, wished, later)
            _begin(changed, given)
            return make(Design(analysis, changed, wished, surgery_plan(analysis, changed, wished, seed)))
        except OptionError:
            raise
        except GrowthError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def analysed(
    model: nn.Module, examples: tuple[Example, ...], features: Wanted, outputs: Wanted
) -> tuple[Analysis, list[Wish]]:
    """The axes of a network whose inputs and outputs are open where the wishes say so."""
    wished: list[Wish] = []

    def opening(examples: tuple[Example, ...], graph: Graph) -> Opened:
        wished[:] = wishes(model, examples, graph, features, outputs)
        return opened(wished)

    return analyze_modes(model, examples, opening), wished


def _begin(changed: Mapping[Atom, Changed], given: Callable[[], Given]) -> None:
    """Say how new places begin, where that is not decided by exactness."""
    for change in changed.values():
        at_output = [w for w in change.wishes if w.side == "output"]
        tokens = [w for w in change.wishes if w.axis is None]
        if not (change.source < 0).any() or not (at_output or tokens):
            continue
        hidden = any(w.side == "input" and w.axis is not None for w in change.wishes)
        # A table that is a head too begins as what it gives: its rows for new tokens are read by nobody so far.
        change.starts = {w: start_of(w, hidden, given) for w in at_output or tokens}


def require_constants(model: nn.Module, examples: tuple[Example, ...], wished: list[Wish]) -> None:
    """Raise if a feature that goes isn't the constant that it is said to be, in some example.

    Raises:
        FixedDimensionError: it is live.
    """
    by_name = {w.name: w for w in wished if w.side == "input" and len(w.places.gone)}

    def seen(name: str, tensor: torch.Tensor) -> torch.Tensor:
        if name in by_name:
            _require_constant(by_name[name], tensor)
        return tensor

    for example in examples:
        with_inputs(getattr(model, example.method), example.args, example.kwargs, seen)


def _require_constant(wish: Wish, tensor: torch.Tensor) -> None:
    old = wish.features.old
    for place in wish.places.gone:
        name = old[place % len(old)]
        if wish.axis is None:
            if bool((tensor == int(place)).any()):
                raise FixedDimensionError(f"the token '{name}' goes, and the example inputs have it: {wish.what}.")
            continue
        constant, here = float(wish.places.constants[place]), tensor.select(wish.axis, int(place)).double()
        if not np.isnan(constant) and not torch.allclose(here, torch.full_like(here, constant), rtol=1e-6, atol=1e-12):
            raise FixedDimensionError(
                f"'{name}' of {wish.what} is live: it goes from {float(here.min()):.4g} to {float(here.max()):.4g} in "
                f"the example inputs and is said to be {constant:g}. Removing it would change the function; feed it "
                "the constant first, and train on that."
            )


def interface_of(wished: list[Wish]) -> Interface:
    """Which inputs and outputs are other ones, for a proof."""
    inputs, outputs = ([_port(w) for w in wished if w.side == side] for side in ("input", "output"))
    return Interface(tuple(inputs), tuple(outputs))


def _port(wish: Wish) -> Port:
    places = wish.places
    return Port(wish.name, wish.axis, places.source, places.before, np.nan_to_num(places.constants))
