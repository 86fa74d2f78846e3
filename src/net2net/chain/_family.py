"""A family of models as data: their sizes, how each begins, and how long it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from torch.optim import Optimizer

from net2net.capture import Inputs
from net2net.chain._distillation import Distillation
from net2net.chain._start import INITS, is_request
from net2net.errors import OptionError


@dataclass(frozen=True)
class Family:
    """What a `Chain` is made of; its arguments are explained there."""

    models: Sequence[Any]
    build: Callable[[Any], nn.Module] | None
    inputs: Inputs
    steps: int | Sequence[int] = 1000
    distillation: Distillation | None = None
    init: str | Sequence[str] = "exact"
    optimizer: Callable[[nn.Module], Optimizer] | None = None
    carry: str | None = None
    rates: Sequence[float] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    names: Sequence[str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        count = len(self.models)
        if count < 2:
            raise OptionError(f"a chain has at least two models; got {count}.")
        if is_request(self.models[0], self.build):
            raise OptionError("the first model grows from none: give a factory for it, or build= and sizes.")
        _as_many(self.budgets, count, "steps")
        _as_many(self.inits, count - 1, "init", "links")
        for values, what in ((self.rates, "rates"), (self.names, "names")):
            if values is not None:
                _as_many(values, count, what)
        if len(set(self.labels)) != count:
            raise OptionError(f"names= must differ from each other: {list(self.labels)}.")
        wrong = [n for n in self.budgets if isinstance(n, bool) or not isinstance(n, int) or n < 1]
        if wrong:
            raise OptionError(f"steps={wrong[0]!r} is no number of steps; use an int of at least 1.")
        odd = [name for name in self.inits if name not in INITS]
        if odd:
            raise OptionError(f"init={odd[0]!r} is not known; use one of {', '.join(INITS)}.")
        if self.optimizer is None and (self.carry is not None or self.rates is not None):
            raise OptionError("carry= and rates= are about the optimizer: give optimizer=, which makes it.")
        if self.carry is not None and "scratch" in self.inits:
            raise OptionError("carry= needs links that grow: a model from scratch has no state to go on with.")

    @property
    def budgets(self) -> tuple[int, ...]:
        """The steps of every model."""
        return (self.steps,) * len(self.models) if isinstance(self.steps, int) else tuple(self.steps)

    @property
    def inits(self) -> tuple[str, ...]:
        """How every model but the first begins."""
        return (self.init,) * (len(self.models) - 1) if isinstance(self.init, str) else tuple(self.init)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self.names or (str(n + 1) for n in range(len(self.models))))


def _as_many(values: Sequence[Any], count: int, what: str, of: str = "models") -> None:
    if len(values) != count:
        raise OptionError(f"{what}= has {len(values)} entries for {count} {of}; give one for each.")
