"""A worker: trials one after the other until the study has enough, among other workers that may be killed."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import optuna

from net2net.errors import warn
from net2net.exploration._search import Search, objective, tidy
from net2net.exploration._tried import FAILED, LIMITED, REFUSED, Tried

# Workers on other machines are known to be alive by what they write every so many seconds.
HEARTBEAT, GRACE = 30, 120
_WAIT = 0.5
Progress = Callable[[Sequence[Tried], int], None]


def open_storage(storage: Any) -> Any:
    """The storage that a user means: a URL of a database, "journal:FILE", or any storage of Optuna's."""
    if not isinstance(storage, str):
        return storage
    if storage.startswith("journal:"):
        from optuna.storages.journal import JournalFileBackend

        return optuna.storages.JournalStorage(JournalFileBackend(storage[len("journal:") :]))
    options = {"connect_args": {"timeout": 60}} if storage.startswith("sqlite:") else {"pool_pre_ping": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(storage, options, heartbeat_interval=HEARTBEAT, grace_period=GRACE)


def work(search: Search, trials: int, progress: Progress | None = None) -> None:
    """Run trials until so many were trained, by this worker and by others.

    Refused growths don't count. Where others still run the last ones, this one waits, and takes over what they leave
    if they are killed.
    """
    storage: Any = search.study._storage
    heartbeats = getattr(storage, "get_heartbeat_interval", lambda: None)() is not None
    with quiet():
        while True:
            take_back(search.study)
            found = search.trials()
            done = sum(t.counts for t in found)
            if progress is not None:
                progress(found, trials)
            if done >= trials:
                return
            if done + sum(_is_awaited(t, heartbeats) for t in search.study.get_trials(deepcopy=False)) >= trials:
                time.sleep(_WAIT)
                continue
            with _taken_for_dead():
                run = functools.partial(objective, search, trials)
                search.study.optimize(run, n_trials=1, catch=(Exception,))
            tidy(search)
            refusals = sum(t.outcome in (REFUSED, LIMITED) for t in search.trials())
            if refusals > 20 + 5 * trials:
                warn(f"{refusals} growths were refused or beyond a limit, and {done} trials trained: the search ends.")
                return


def take_back(study: Any) -> None:
    """Have the trials of killed workers run again: of this machine at once, of others when their heartbeat is old."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name == "RUNNING" and _is_gone(trial.user_attrs.get("worker", "")):
            with contextlib.suppress(ValueError, optuna.exceptions.UpdateFinishedTrialError):  # another was faster
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    trials = study.get_trials(deepcopy=False)
    again = {t.user_attrs["again"] for t in trials if "again" in t.user_attrs}
    for trial in trials:
        lost = trial.state.name == "FAIL" and trial.user_attrs.get("outcome") != FAILED
        values = trial.params or trial.system_attrs.get("fixed_params", {})
        if lost and values and trial.number not in again:
            study.enqueue_trial(values, user_attrs={"again": trial.number})


def _is_awaited(trial: Any, heartbeats: bool) -> bool:
    """Whether somebody runs a trial of whom it will be known if they die: others are not waited for."""
    if trial.state.name != "RUNNING":
        return False
    worker, begun = trial.user_attrs.get("worker", ""), trial.datetime_start
    if not worker:  # it has just begun, or was killed as it began
        return begun is not None and abs((datetime.now() - begun).total_seconds()) < GRACE
    return heartbeats or worker.rpartition(":")[0] == socket.gethostname()


@contextlib.contextmanager
def _taken_for_dead() -> Iterator[None]:
    """A trial that another worker took back, because nothing was heard of it for long, is not ended twice."""
    try:
        yield
    except optuna.exceptions.UpdateFinishedTrialError:
        pass
    except ValueError as error:
        if "Cannot tell a" not in str(error):
            raise


def _is_gone(worker: str) -> bool:
    """Whether a process of this machine has ended."""
    host, _, number = worker.rpartition(":")
    if host != socket.gethostname() or not number.isdigit():
        return False
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's lines on every trial: their outcomes and reasons are in the study."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
