"""A whole run as one object: the small start, the growths, the learning rates, and what they are expected to save."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from net2net.capture import Inputs
from net2net.errors import OptionError
from net2net.training._schedule import GrowthSchedule

RECIPES = ("late-depth",)
# Parts of a run: the rise of the rate at its start and after a growth, and its fall at the end.
RISE, RAMP, DECAY = 1 / 24, 1 / 40, 1 / 5
# The words of configs for how many blocks there are, the usual ones first.
_DEPTHS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers", "layers", "depth")


@dataclass(frozen=True)
class Recipe:
    """A run that grows on the way; made by `recipe`.

    Attributes:
        name: of the recipe.
        target: the config of the network at the end.
        start: the config of the network to begin with.
        steps: of the whole run.
        events: the growths, as for `GrowthSchedule`; the place of the blocks is None if it isn't known yet.
        blocks: how many there are at the start and at the end.
        ramp: steps in which the rate rises after a growth.
    """

    name: str
    target: Any
    start: Any
    steps: int
    events: Mapping[int, Mapping[str, Any]]
    blocks: tuple[int, int]
    ramp: int

    @property
    def cost(self) -> float:
        """FLOPs of the run, relative to the target from scratch for as many steps; those of the blocks alone."""
        after = min(self.events)
        return (after * self.blocks[0] / self.blocks[1] + self.steps - after) / self.steps

    def schedule(self, model: nn.Module, example_inputs: Inputs) -> GrowthSchedule:
        """The growths, for a loop (`schedule.after`), for `trainer_callback` and for `lightning_callback`.

        Args:
            model: made of `start`; the place of its blocks is looked up if `where` didn't say it.
            example_inputs: as for `GrowthSchedule`.

        Raises:
            OptionError: the blocks are not found, or at several places.
        """
        place = _place(model, self.blocks[0])
        events = {
            step: {**event, "where": {key or place(): more for key, more in event["where"].items()}}
            for step, event in self.events.items()
        }
        return GrowthSchedule(events, example_inputs, ramp=self.ramp)

    def scheduler(self, optimizer: Optimizer) -> LambdaLR:
        """Warm-up, stable rate and decay, up to the rate that the optimizer was made with; step it after every step."""
        return LambdaLR(optimizer, lambda step: warm_up_stable_decay(step, self.steps))

    def __str__(self) -> str:
        (after, event), *_ = self.events.items()
        init = event.get("init", "identity")
        return (
            f"{self.name}: {self.blocks[0]} -> {self.blocks[1]} blocks ({init}) after {after:,} of {self.steps:,} steps"
            f"\nrate       up over {round(RISE * self.steps):,} steps, stable, linearly down to 0 over the last "
            f"{round(DECAY * self.steps):,}\n"
            f"costs      {self.cost:.2f} of the FLOPs of {self.blocks[1]} blocks from scratch\n"
            f"expect     {_EXPECTED}"
        )


_EXPECTED = (
    "about the loss of the full depth where that is larger than pays, a little above it where it pays.\n"
    "           Not below the best network of one depth at equal FLOPs: docs/results says what was seen."
)


def recipe(
    name: str,
    *,
    target: Any,
    steps: int,
    first: int | None = None,
    after: float = 0.6,
    where: str | None = None,
    init: str = "identity",
) -> Recipe:
    """A run that begins with few blocks and ends with the target's, under warm-up, stable rate and decay.

    The learning rate is the one that suits the target from scratch, in the optimizer as ever.

    Args:
        name: "late-depth".
        target: the config of the network that is wanted: of transformers, a dataclass, or a dict; its number of blocks
            is its `num_hidden_layers`, `n_layer`, `num_layers`, `n_layers`, `layers` or `depth`.
        steps: of the whole run.
        first: blocks at the start; by default three eighths of the target's.
        after: the part of the steps after which it grows, before the decay begins at 0.8.
        where: the path of the blocks in the network, as for `deepen`; else the one list of so many modules is found.
        init: how new blocks begin, as for `deepen`.

    Returns:
        The recipe; `print` says what it does and what to expect.

    Raises:
        OptionError: the recipe isn't known, the config has no number of blocks, or a number can't be met.

    Source: late growth under a stable rate: arXiv 2511.04981. The defaults are those that came nearest to the best
    networks of one depth at equal FLOPs in docs/results, not those of the paper (one block, until 0.8).

    Example:
        >>> found = recipe("late-depth", target={"layers": 8, "width": 96}, steps=1200)
        >>> found.start, dict(found.events), round(found.cost, 3)
        ({'layers': 3, 'width': 96}, {720: {'where': {None: 5}}}, 0.625)
    """
    if name not in RECIPES:
        raise OptionError(f"there is no recipe {name!r}; use one of {', '.join(RECIPES)}.")
    word, full = _depth(target)
    first = max(1, round(3 * full / 8)) if first is None else first
    if not 1 <= first < full:
        raise OptionError(f"first={first}: the target has {word}={full}; use 1 to {full - 1}.")
    if not 0 < after <= 1 - DECAY:
        raise OptionError(
            f"after={after}: the rate decays after {1 - DECAY:g} of the steps; use more than 0, up to that."
        )
    at = round(after * steps)
    if at < 1:
        raise OptionError(
            f"steps={steps} are too few to grow after {after:g} of them; use at least {round(1 / after)}."
        )
    event: dict[str, Any] = {"where": {where: full - first}}
    if init != "identity":
        event["init"] = init
    start = _with(target, word, full, first)
    return Recipe(name, target, start, steps, {at: event}, (first, full), max(1, round(RAMP * steps)))


def warm_up_stable_decay(step: int, steps: int) -> float:
    """The learning rate at a step, from 0, relative to its peak: up over 1/24 of the steps, stable, down over 1/5.

    Example:
        >>> [round(warm_up_stable_decay(step, 240), 2) for step in (0, 9, 100, 191, 216, 239, 240)]
        [0.1, 1.0, 1.0, 1.0, 0.5, 0.02, 0.0]
    """
    return min(1.0, (step + 1) / max(1, round(RISE * steps)), max(0, steps - step) / max(1, round(DECAY * steps)))


def _depth(target: Any) -> tuple[str, int]:
    """The word of a config for its number of blocks, and the number."""
    words = target if isinstance(target, Mapping) else {n: getattr(target, n) for n in _DEPTHS if hasattr(target, n)}
    for word in _DEPTHS:
        if isinstance(words.get(word), int):
            return word, words[word]
    raise OptionError(
        f"the target ({type(target).__name__}) doesn't say how many blocks it has; give a config with one of "
        f"{', '.join(_DEPTHS)}."
    )


def _with(target: Any, word: str, full: int, first: int) -> Any:
    """A config with fewer blocks; lists with an entry for each block are cut."""
    if isinstance(target, Mapping):
        return {**target, word: first}
    if is_dataclass(target) and not isinstance(target, type):
        return replace(target, **{word: first})
    start = copy.deepcopy(target)
    for name, value in vars(start).items():
        if isinstance(value, list) and len(value) == full:
            setattr(start, name, value[:first])
    setattr(start, word, first)
    return start


def _place(model: nn.Module, first: int) -> Any:
    """Where the blocks are, when it is asked for: the one outermost list of so many modules."""

    def find() -> str:
        kinds = (nn.ModuleList, nn.Sequential)
        found = [n for n, m in model.named_modules() if isinstance(m, kinds) and len(m) == first and n]
        found = [n for n in found if not any(n.startswith(f"{other}.") for other in found)]
        if len(found) != 1:
            there = f"is one of {', '.join(found)}" if found else f"has no list of {first} modules"
            raise OptionError(
                f"where are the blocks? The network {there}; give recipe(..., where='path.of.the.blocks')."
            )
        place: str = found[0]
        return place

    return find
