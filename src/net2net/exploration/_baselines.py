"""What inheritance and size gave: random twins of the best networks, and the teacher trained on, at equal compute."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import optuna

from net2net.exploration._cost import cost_of, metered
from net2net.exploration._grown import restart, twin
from net2net.exploration._search import Running, Search, this_worker, trained
from net2net.exploration._tried import FAILED, Tried, lineage
from net2net.exploration._work import quiet, take_back

RANDOM, TEACHER = "random initialisation", "the teacher, trained on"
_MOST = 10**6  # the highest number of a trial


@dataclass(frozen=True)
class Baseline:
    """A network that trained for as many operations as a trial and all its ancestors, without growing.

    `start` is "random initialisation" (of the trial's network) or "the teacher, trained on"; `of` is the trial; `score`
    is the best of all `rounds` of the user's loop; `compute` counts their operations, those of the last round too,
    which may go beyond the trial's.
    """

    start: str
    of: int
    score: float
    compute: float
    rounds: int


def run_baselines(search: Search, best: int, teacher_compute: float) -> None:
    """Run what is missing of the baselines of the best trials; other workers may do the same."""
    study = _study(search)
    with quiet():
        for trial in search.allowed(search.trials())[:best]:
            if search.models.has(trial.model):
                for start in (RANDOM, TEACHER):
                    study.enqueue_trial({"start": start, "of": trial.number}, skip_if_exists=True)
        while True:
            take_back(study)
            if not any(t.state.name == "WAITING" for t in study.get_trials(deepcopy=False)):
                return
            run = functools.partial(_baseline, search, teacher_compute)
            study.optimize(run, n_trials=1, catch=(Exception,))


def baselines(search: Search) -> tuple[Baseline, ...]:
    """Those that have been run."""
    done = [t for t in _study(search).get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    return tuple(
        Baseline(t.params["start"], t.params["of"], t.values[0], t.user_attrs["compute"], t.user_attrs["rounds"])
        for t in done
    )


def _study(search: Search) -> Any:
    storage: Any = search.study._storage  # one connection for both studies
    with quiet():
        return optuna.create_study(
            study_name=f"{search.study.study_name}: baselines",
            storage=storage,
            direction=search.study.directions[0],
            sampler=optuna.samplers.RandomSampler(seed=search.seed),
            load_if_exists=True,
        )


def _baseline(search: Search, teacher_compute: float, trial: optuna.Trial) -> float:
    trial.set_user_attr("worker", this_worker())
    try:
        return _run(search, teacher_compute, trial)
    except Exception as error:  # what a killed worker left behind is run again, this isn't
        trial.set_user_attr("outcome", FAILED)
        trial.set_user_attr("reason", f"{type(error).__name__}: {error}")
        raise


def _run(search: Search, teacher_compute: float, trial: optuna.Trial) -> float:
    start = trial.suggest_categorical("start", (RANDOM, TEACHER))
    number = trial.suggest_int("of", 0, _MOST)
    trials = {t.number: t for t in search.trials()}
    of: Tried = trials[number]
    budget = sum(t.compute for t in lineage(of, trials)) + (teacher_compute if start == RANDOM else 0.0)
    seed = search.seed + _MOST + trial.number
    if start == RANDOM:
        one = twin(search.models.load(of.model, of.architecture), seed)
    else:
        one = search.models.load("", search.models.root.architecture)
    scores: list[float] = []
    with metered(one.model, cost_of(one.model, one.optimizer, search.inputs), search.inputs) as meter:
        before = -1.0
        while before < meter.flops < budget:  # a loop that trains nothing ends it
            before = meter.flops
            restart(one.optimizer, search.models.root.optimizer)
            scores.append(trained(search, one, Running(trial, meter, 1.0, prunes=False), seed + len(scores)))
    trial.set_user_attr("compute", meter.flops)
    trial.set_user_attr("rounds", len(scores))
    return min(scores, key=lambda score: search.sign * score)
