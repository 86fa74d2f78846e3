"""A search: what every trial of it needs, and one trial from its parent to its score."""

from __future__ import annotations

import math
import os
import socket
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import torch
from torch import nn
from torch.optim import Optimizer

from net2net.analysis import Analysis
from net2net.capture import Inputs
from net2net.errors import GrowthError, OptionError
from net2net.exploration._cost import Cost, Limits, Meter, cost_of, metered
from net2net.exploration._grown import Grown, grown, twin
from net2net.exploration._models import Models
from net2net.exploration._space import Architecture, Space, fits_into, smallest
from net2net.exploration._tried import (
    FAILED,
    LIMITED,
    PRUNED,
    REFUSED,
    RUNNING,
    SPARE,
    TRAINED,
    Tried,
    front,
    tried,
)

# The user's loop: trains in place, and gives back the score.
Train = Callable[[nn.Module, Optimizer, Any], float]


@dataclass(frozen=True, eq=False)
class Search:
    """What every trial needs. `sign` is 1 where a lower score is better, -1 where a higher one is."""

    study: optuna.Study
    train: Train
    inputs: Inputs
    space: Space
    analysis: Analysis
    models: Models
    limits: Limits
    root_cost: Cost
    sign: int
    inherit: bool
    keep: int
    ramp: int | None
    seed: int

    @property
    def several(self) -> bool:
        """Whether operations are an objective beside the score."""
        return len(self.study.directions) > 1

    def trials(self) -> list[Tried]:
        """All trials so far, of all workers."""
        return [tried(t, self.space) for t in self.study.get_trials(deepcopy=False)]

    def allowed(self, trials: Iterable[Tried]) -> list[Tried]:
        """Those that were trained and keep the limits, the best one first."""
        kept = (t for t in trials if t.outcome == TRAINED and t.cost and not self.limits.exceeded_by(t.cost))
        return sorted(kept, key=lambda t: (self.sign * (t.score or 0.0), t.number))


class Running:
    """What the user's loop gets beside the network: Optuna's trial, whose steps are operations.

    `report` takes the score so far at any step of the user's own; pruners compare trials at the same number of
    operations, counted in training steps of the teacher on the example inputs. All else is Optuna's: `should_prune()`,
    `suggest_float(...)`, `number`.
    """

    def __init__(self, trial: Any, meter: Meter, unit: float, prunes: bool) -> None:
        self._trial, self._meter, self._unit, self._prunes = trial, meter, unit, prunes
        self._last = -1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trial, name)

    def report(self, value: float, step: int) -> None:
        """Tell the score so far; `step` is for your own eyes."""
        if self._prunes:
            self._last = max(self._last + 1, round(self._meter.flops / self._unit))
            self._trial.report(float(value), self._last)

    def should_prune(self) -> bool:
        """Whether the trial is worse than others with as many operations; then raise `optuna.TrialPruned`."""
        return self._prunes and bool(self._trial.should_prune())


def objective(search: Search, most: int, trial: optuna.Trial) -> float | tuple[float, float]:
    """One trial: the best network that fits into what is asked for is grown, measured, trained and kept.

    Whatever is raised on the way is written down, so that only a worker that was killed leaves a trial without an
    outcome. Where others began at the same moment, only the first `most` go on.
    """
    trial.set_user_attr("worker", this_worker())
    architecture = {name: trial.suggest_categorical(name, knob.choices) for name, knob in search.space.items()}
    earlier = [t for t in search.trials() if t.number < trial.number and (t.counts or t.outcome == RUNNING)]
    if len(earlier) >= most:
        raise _ended(trial, SPARE, "others had begun the last trials")
    try:
        return _tried(search, trial, architecture)
    except optuna.TrialPruned:
        raise
    except Exception as error:
        if not isinstance(error, optuna.exceptions.UpdateFinishedTrialError):  # another worker took this one for dead
            _ended(trial, FAILED, _in_a_line(error))
        raise


def _tried(search: Search, trial: optuna.Trial, architecture: Architecture) -> float | tuple[float, float]:
    seed = search.seed + trial.number
    parent = _parent(search, architecture)
    key, before = (parent.model, parent.architecture) if parent else ("", smallest(search.space))
    try:
        start = search.models.load(key, before)
        child = grown(start, architecture, search.space, search.analysis, search.inputs, seed=seed, ramp=search.ramp)
    except GrowthError as error:
        raise _ended(trial, REFUSED, f"{type(error).__name__}: {error}") from error
    child = child if search.inherit else twin(child, seed)
    cost = cost_of(child.model, child.optimizer, search.inputs)
    trial.set_user_attr("parent", parent.number if parent else None)
    trial.set_user_attr("growths", list(child.last))
    trial.set_user_attr("cost", asdict(cost))
    beyond = search.limits.exceeded_by(cost)
    if beyond:
        raise _ended(trial, LIMITED, beyond)
    with metered(child.model, cost, search.inputs) as meter:
        running = Running(trial, meter, search.root_cost.training_flops, prunes=not search.several)
        try:
            score = trained(search, child, running, seed)
        except optuna.TrialPruned as error:
            raise _ended(trial, PRUNED, str(error)) from error
        finally:
            trial.set_user_attr("compute", meter.flops)
    search.models.save(child, lambda key: trial.set_user_attr("model", key))
    _ended(trial, TRAINED, "")
    return (score, cost.flops) if search.several else score


def trained(search: Search, child: Grown, trial: Any, seed: int) -> float:
    """Run the user's loop, and check what it gives back.

    Raises:
        OptionError: that is no finite number.
    """
    torch.manual_seed(seed)
    child.model.train()
    score = search.train(child.model, child.optimizer, trial)
    try:
        number = float(score)
    except (TypeError, ValueError) as error:
        raise OptionError(f"train() returned {score!r}; give back the score, a number.") from error
    if not math.isfinite(number):
        raise OptionError(f"train() returned {number}, which can't be compared.")
    return number


def tidy(search: Search) -> None:
    """Delete the networks of all but the best trials, and those of the front."""
    trials = search.trials()
    best = search.allowed(trials)
    kept = [*best[: search.keep], *(front(best, search.sign) if search.several else ())]
    newer = [t for t in trials if t.outcome == RUNNING]  # one that is being written down has no score yet
    search.models.keep(t.model for t in (*kept, *newer) if t.model)


def this_worker() -> str:
    """Who runs a trial: the machine, and the process on it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def _parent(search: Search, architecture: Architecture) -> Tried | None:
    """The best network that is there and can grow into this one; None for the teacher."""
    if not search.inherit:
        return None
    beneath = (t for t in search.allowed(search.trials()) if fits_into(t.architecture, architecture))
    return next((t for t in beneath if search.models.has(t.model)), None)


def _ended(trial: optuna.Trial, outcome: str, reason: str) -> optuna.TrialPruned:
    """Write down how a trial ended; what Optuna takes for a trial without a score."""
    trial.set_user_attr("reason", reason)
    trial.set_user_attr("outcome", outcome)
    return optuna.TrialPruned(reason)


def _in_a_line(error: Exception) -> str:
    """What was raised, and where in the user's code."""
    frames = traceback.extract_tb(error.__traceback__)
    others = (f"{Path(file).parents[1]}{os.sep}" for file in (__file__, torch.__file__))
    own = [f for f in frames if not f.filename.startswith(tuple(others))]
    where = f" ({own[-1].filename}, line {own[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{where}"
