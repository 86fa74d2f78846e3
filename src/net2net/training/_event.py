"""One growth of a schedule: the arguments of `grow` or of `upcycle`, checked when the schedule is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from net2net.analysis import Request
from net2net.capture import Inputs, Methods
from net2net.depth import DepthOptions, Kernel, Positions, Where
from net2net.errors import GrowthError, OptionError, described
from net2net.growth import Growth
from net2net.moe import ROUTINGS, Experts, upcycle
from net2net.operators import Calibration, grow
from net2net.width import NoiseSpec, WidthOptions


@dataclass(frozen=True)
class GrowthEvent:
    """The arguments of `grow`, but for the network and its inputs.

    Raises:
        OptionError: it is neither wider nor deeper, or an option has no such value.
    """

    sizes: Request | None = None
    where: Where | None = None
    calibration: Calibration | None = None
    how: str | None = None
    shares: str = "uneven"
    noise: str | NoiseSpec | None = None
    init: str = "identity"
    positions: Positions | None = None
    kernel: Kernel = None
    seed: int = 0
    methods: Methods = ()
    unread: str = "refuse"

    def __post_init__(self) -> None:
        if self.sizes is None and self.where is None:
            raise OptionError("it needs sizes= (wider), where= (deeper), or both.")
        WidthOptions(self.how, self.shares, self.noise, self.seed)
        DepthOptions(self.init, self.positions, self.kernel, self.seed)

    def of(self, model: nn.Module, example_inputs: Inputs) -> Growth:
        """The growth of a network.

        Raises:
            GrowthError: it can't be met exactly.
        """
        return grow(model, example_inputs, **{f.name: getattr(self, f.name) for f in fields(self)})


@dataclass(frozen=True)
class UpcyclingEvent:
    """The arguments of `upcycle`, but for the network, its inputs, and scores: these are of weights to come.

    Raises:
        OptionError: the routing isn't known.
    """

    experts: Experts
    routing: str = "replica"
    noise: float = 1e-3
    top_k: int | None = None
    granularity: int = 1
    shared: bool = False
    redrawn: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.routing not in ROUTINGS:
            raise OptionError(f"routing={self.routing!r} is not known; use one of {', '.join(ROUTINGS)}.")
        if not 0 <= self.redrawn <= 1:
            raise OptionError(f"redrawn={self.redrawn!r} is no share of the hidden units; use 0 to 1.")

    def of(self, model: nn.Module, example_inputs: Inputs) -> Growth:
        """The growth of a network.

        Raises:
            GrowthError: a mixture can't grow so.
        """
        options = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "experts"}
        return upcycle(model, self.experts, example_inputs, **options)


def event_after(step: Any, arguments: Any) -> GrowthEvent | UpcyclingEvent:
    """The growth that a schedule names after a step.

    Raises:
        OptionError: the step is no positive int, or the arguments are not those of a growth.
    """
    if isinstance(step, bool) or not isinstance(step, int) or step < 1:
        raise OptionError(f"{step!r} is not a number of finished steps; use an int of at least 1.")
    if not isinstance(arguments, Mapping):
        raise OptionError(
            f"the event after step {step} is {described(arguments)}; give the arguments of net2net.grow in a dict: "
            f"{{{step}: {{'sizes': {arguments if isinstance(arguments, (float, str)) else 2.0!r}}}}}."
        )
    kind, function = (UpcyclingEvent, "upcycle") if "experts" in arguments else (GrowthEvent, "grow")
    known = {f.name for f in fields(kind)}
    unknown = sorted(map(str, set(arguments) - known))
    if unknown:
        raise OptionError(
            f"the event after step {step} has {unknown[0]!r}, which net2net.{function} doesn't know; use some of "
            f"{', '.join(sorted(known))}."
        )
    try:
        return kind(**arguments)
    except GrowthError as error:
        raise type(error)(f"the event after step {step}: {error}") from error
