"""A growth in place: the teacher object itself becomes the student, for loops that hold on to their model."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

from torch import nn
from torch.optim import Optimizer

from net2net.errors import Net2NetWarning, OptionError, require_kind
from net2net.growth import Growth
from net2net.optimizer import RAMP_STEPS
from net2net.optimizer import ramp as start_ramp

# The others need new groups or new rates, which a scheduler on the same optimizer wouldn't know.
IN_PLACE = ("keep", "paper")
# What wrappers and users hang on a module; it stays. (accelerate puts a forward of its own on the instance.)
_STAYS = ("forward", "_original_forward")


def adopt(
    growth: Growth, model: nn.Module, optimizer: Optimizer, *, rates: str = "keep", ramp: int | None = None
) -> None:
    """Make the teacher the student, and its optimizer the student's, without a new object for either.

    For training loops that can't be told of a new model. The teacher of the growth is gone after this. Hooks of the
    outermost module stay; modules inside are the student's.

    Args:
        growth: a growth of `model`.
        model: the teacher, not wrapped (DistributedDataParallel holds the old parameters: wrap it anew instead).
        optimizer: the one that trains it.
        rates: "keep" or "paper".
        ramp: as for `Growth.optimizer`.

    Raises:
        OptionError: the growth is of another network, or the rates can't be had in place.

    Example:
        >>> import torch, net2net
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> adopt(net2net.widen(model, {"0": 12}, torch.randn(3, 4)), model, optimizer)
        >>> model[0].out_features, optimizer.param_groups[0]["params"][0].shape
        (12, torch.Size([12, 4]))
    """
    require_kind(growth, Growth, "the growth", "what net2net.widen, deepen or grow gave")
    if growth.teacher is not model:
        raise OptionError("the growth is of another network: give the one that was grown, without a wrapper.")
    check_rates(rates)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Net2NetWarning)  # what its scheduler does next is the loop's
        new = growth.optimizer(optimizer, rates=rates, ramp=ramp)
    hooks = {name: value for name, value in vars(model).items() if name in _STAYS or name.endswith("_hooks")}
    vars(model).clear()
    vars(model).update({**vars(growth.student), **hooks})
    optimizer.state.clear()
    optimizer.state.update(new.state)
    for group, other in zip(optimizer.param_groups, new.param_groups, strict=True):
        group.clear()
        group.update(other)
    steps = RAMP_STEPS if ramp is None else ramp
    if steps:
        start_ramp(optimizer, steps)


def check_rates(rates: str) -> None:
    """Raise for learning rates that can't be put into an optimizer in place."""
    if rates not in IN_PLACE:
        raise OptionError(
            f"rates={rates!r} is nothing that a scheduler on the same optimizer would know of; in place use one of "
            f"{', '.join(IN_PLACE)}, or go on with what growth.optimizer makes."
        )


@contextlib.contextmanager
def unwrapped(model: nn.Module) -> Iterator[None]:
    """The model without what wrappers have hung on it: a forward that is bound to this object isn't a copy's."""
    hung = {name: vars(model).pop(name) for name in _STAYS if name in vars(model)}
    try:
        yield
    finally:
        vars(model).update(hung)
