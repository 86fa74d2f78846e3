"""When a network grows, and how: data that a training loop asks at every step, and again after a crash."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from net2net.capture import Inputs
from net2net.errors import GrowthError, Net2NetWarning, OptionError, require_kind
from net2net.growth import Growth
from net2net.optimizer import RATES, require_ramp
from net2net.training._announce import announce, warn_of_late
from net2net.training._event import event_after
from net2net.training._replicas import balance_replicas

# Models that `after` has grown, and after which step: one that comes again was grown in vain.
_outgrown: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()


class Training(NamedTuple):
    """A network in training, and what hangs on it."""

    model: nn.Module
    optimizer: Optimizer
    scheduler: LRScheduler | None = None

    def state_dict(self) -> dict[str, Any]:
        """The `state_dict` of each part, for `torch.save`."""
        return {name: part.state_dict() for name, part in self._asdict().items() if part is not None}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load what `state_dict` gave, into parts that `GrowthSchedule.rebuild` made.

        Raises:
            OptionError: it has other parts, or is of a network of another size.
        """
        parts = {name: part for name, part in self._asdict().items() if part is not None}
        if parts.keys() != state.keys():
            raise OptionError(f"the saved state has {', '.join(state)}; this training has {', '.join(parts)}.")
        try:
            for name, part in parts.items():
                part.load_state_dict(state[name])
        except (RuntimeError, ValueError) as error:
            raise OptionError(
                f"the saved {name} doesn't fit: {str(error).splitlines()[0]} Give `rebuild` the number of steps that "
                "were finished when it was saved, and the schedule of that run."
            ) from error


@dataclass(frozen=True)
class GrowthSchedule:
    """Growths by the step after which they happen: "after 2,000 steps widen these, after 4,000 deepen".

    Args:
        events: for each number of finished steps the keyword arguments of `net2net.grow`: `sizes`, `where`, `how`, ...;
            or of `net2net.upcycle`: `experts`, `routing`, ...
        example_inputs: inputs of the network, as for `grow`; they must fit it after each growth too.
        ramp, rates: as for `Growth.optimizer`.
        balance: the rate of `net2net.balance_experts`, which is called after each step where there are replicas of
            experts; 0 leaves it to you.

    Raises:
        OptionError: a step is no positive int, an event has a word or an option that `grow` doesn't know, or says
            neither `sizes` nor `where`, or the rates or the ramp are unknown.

    Example:
        >>> import torch
        >>> x, y = torch.randn(16, 4), torch.randn(16, 2)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> schedule = GrowthSchedule({3: {"sizes": {"0": 12}}, 6: {"where": {"0": 1}}}, x)
        >>> training = Training(model, optimizer)
        >>> for step in range(1, 10):
        ...     training.optimizer.zero_grad()
        ...     (training.model(x) - y).square().mean().backward()
        ...     training.optimizer.step()
        ...     training = schedule.after(step, training)
        >>> [layer.out_features for layer in training.model[::2]]
        [12, 12, 2]
    """

    events: Mapping[int, Mapping[str, Any]]
    example_inputs: Inputs = field(repr=False)
    rates: str = "keep"
    ramp: int | None = None
    balance: float = 0.01

    def __post_init__(self) -> None:
        give = (
            "a dict from a number of finished steps to the arguments of net2net.grow: {2000: {'sizes': {'fc1': '2x'}}}"
        )
        require_kind(self.events, Mapping, "the schedule's events", give)
        if self.example_inputs is None:
            raise OptionError("the schedule's example_inputs is None; give inputs of the network, as for net2net.grow.")
        for step, event in self.events.items():
            event_after(step, event)
        require_ramp(self.ramp)
        if not self.balance >= 0:
            raise OptionError(f"balance={self.balance!r} is no rate; use a number from 0 up, such as 0.01.")
        if self.rates not in RATES:
            raise OptionError(f"rates={self.rates!r} is not known; use one of {', '.join(RATES)}.")
        if self.rates == "restart":
            raise OptionError("rates='restart' is for a new scheduler, and here the old one goes on: use 'keep'.")

    def check(self, training: Training, done: int = 0, *, max_steps: int | None = None) -> None:
        """Make every growth that is still to come once, and throw it away: what can't be met is found before training.

        Takes the time and the memory of the growths. `training` isn't changed.

        Args:
            training: as it is now.
            done: how many steps are finished.
            max_steps: how many steps the whole run has, to be warned of growths that it won't reach.

        Raises:
            GrowthError: a growth can't be met; the message says after which step.

        Example:
            >>> import torch
            >>> schedule = GrowthSchedule({3: {"sizes": {"0": 12}}, 900: {"sizes": {"0": 9}}}, torch.randn(2, 4))
            >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> schedule.check(Training(model, torch.optim.AdamW(model.parameters())))  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            net2net.errors.SizeError: after step 900: '0' has size 12; 9 is smaller...
        """
        warn_of_late(self.events, max_steps)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Net2NetWarning)  # the growth itself will warn
            for step in sorted(self.events):
                if step > done:
                    training = self._grown(step, training)[0]

    def growth(self, step: int, model: nn.Module) -> Growth | None:
        """The growth that is due after so many steps, or None. The model isn't changed.

        Raises:
            GrowthError: it can't be met exactly.
        """
        event = self.events.get(step)
        if event is None:
            return None
        try:
            return event_after(step, event).of(model, self.example_inputs)
        except GrowthError as error:
            raise type(error)(f"after step {step}: {error}") from error

    def after(self, step: int, training: Training) -> Training:
        """What training goes on with after so many steps: the same, or grown. A growth is logged under "net2net".

        Replicas of experts are balanced, so call it after every step.

        Raises:
            GrowthError: the growth that is due can't be met exactly.
            OptionError: `training` is what an earlier growth was made of: its result wasn't taken.
        """
        require_kind(training, Training, "training", "a Training(model, optimizer, scheduler)")
        outgrown = _outgrown.get(training.model)
        if outgrown is not None and step > outgrown:
            raise OptionError(
                f"the model was grown after step {outgrown}, and step {step} comes with the one from before: take what "
                "`after` gives, as in training = schedule.after(step, training), and train that."
            )
        balance_replicas(training.model, self.balance)
        result, growth = self._grown(step, training)
        if growth is not None:
            announce(step, growth)
            _outgrown[training.model] = step
        return result

    def _grown(self, step: int, training: Training) -> tuple[Training, Growth | None]:
        growth = self.growth(step, training.model)
        if growth is None:
            return training, None
        optimizer = growth.optimizer(training.optimizer, rates=self.rates, ramp=self.ramp)
        scheduler = training.scheduler
        follows = None if scheduler is None else growth.scheduler(scheduler, optimizer)
        return Training(growth.student, optimizer, follows), growth

    def rebuild_model(self, step: int, model: nn.Module) -> nn.Module:
        """The network as large as it was after so many steps, for loops that make its optimizer after it.

        Raises:
            GrowthError: a growth can't be met exactly.
        """
        for earlier in sorted(self.events):
            growth = self.growth(earlier, model) if earlier <= step else None
            model = model if growth is None else growth.student
        return model

    def rebuild(self, step: int, training: Training) -> Training:
        """What training had after so many steps, but for its numbers: load the saved `state_dict`s into it.

        Args:
            step: how many steps were finished when the states were saved.
            training: as the run began: a new small network, its optimizer and scheduler.

        Raises:
            GrowthError: a growth can't be met exactly.

        Example:
            >>> import torch
            >>> schedule = GrowthSchedule({3: {"sizes": {"0": 12}}}, torch.randn(2, 4))
            >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> schedule.rebuild(5, Training(model, torch.optim.AdamW(model.parameters()))).model[0].out_features
            12
        """
        for earlier in sorted(self.events):
            if earlier <= step:
                training = self._grown(earlier, training)[0]
        return training
