"""How each model of a chain comes to be: built, and filled from the one before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.capture import Inputs
from net2net.errors import GrowthError, OptionError, described
from net2net.growth import Growth
from net2net.operators import grow, transfer

INITS = ("exact", "overlay", "scratch")
# The published initialisation: weights are laid over random ones, every block of the teacher stands twice in a row.
OVERLAY = {"how": "random_pad", "init": "interleave"}


@dataclass(frozen=True)
class Start:
    """A model before its first step, and the growth that made it, if there was one."""

    model: nn.Module
    growth: Growth | None = None

    @property
    def preserves(self) -> str:
        """What the growth promises."""
        return "" if self.growth is None else self.growth.plan.preserves

    @property
    def error(self) -> float | None:
        """Measured against the teacher."""
        return None if self.growth is None else self.growth.verification.max_relative_error


def built(size: Any, build: Callable[[Any], nn.Module] | None, seed: int) -> nn.Module:
    """A model with random weights, fixed by the seed.

    Raises:
        OptionError: nothing says how it is made.
    """
    if build is None and not callable(size):
        raise OptionError(
            f"nothing says how {described(size)} becomes a model: give build=, or a factory in its place."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = size() if build is None else build(size)
    if not isinstance(model, nn.Module):
        raise OptionError(f"what should be a model is {described(model)}.")
    return model


def is_request(size: Any, build: Callable[[Any], nn.Module] | None) -> bool:
    """Whether an entry of a chain is a growth of the model before it: the arguments of `grow` in a dict."""
    return build is None and isinstance(size, Mapping)


def start(
    size: Any,
    build: Callable[[Any], nn.Module] | None,
    teacher: nn.Module,
    inputs: Inputs,
    *,
    init: str,
    options: Mapping[str, Any],
    seed: int,
    name: str,
) -> Start:
    """A model of the chain before its first step.

    Raises:
        GrowthError: its sizes can't be reached from the teacher's; the message names the model.
    """
    try:
        if is_request(size, build):
            growth = grow(teacher, inputs, **{"seed": seed, **size})
            return Start(growth.student, growth)
        model = built(size, build, seed)
        if init == "scratch":
            return Start(model)
        model.train(teacher.training)
        growth = transfer(teacher, model, inputs, **{"seed": seed, **(OVERLAY if init == "overlay" else options)})
        return Start(growth.student, growth)
    except GrowthError as error:
        raise type(error)(f"{name}: {error}") from error
