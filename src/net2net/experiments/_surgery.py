"""The experiment on surgery: agents whose world changes in the middle of their training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from net2net.errors import MissingExtraError, OptionError
from net2net.experiments._surgery_results import ARMS, SurgeryResults, add, begin, read_surgery

SCALES = {"smoke": 0.02, "cpu": 1.0, "gpu": 4.0}


def operate(
    folder: Path,
    *,
    seeds: Sequence[int],
    budget: str = "cpu",
    steps: int | None = None,
    names: Sequence[str] = (),
    progress: Callable[[float, float], None] | None = None,
) -> SurgeryResults:
    """Carry out the experiment, or go on with one that was interrupted.

    Args:
        folder: "results.jsonl" there gets the lines of each agent and seed that are finished.
        seeds: each agent is trained with each of them.
        budget: one of `SCALES`.
        steps: of each agent before the surgery and after it, instead of those of the budget.
        names: of the agents, "cartpole", "masked" and "acrobot"; all by default.
        progress: is called with the environment steps that are done, and those that there are in all.

    Raises:
        OptionError: a name is unknown, or the folder holds results of other settings.
        MissingExtraError: Stable-Baselines3 is not installed.
    """
    if budget not in SCALES:
        raise OptionError(f"there is no budget {budget!r}; use one of {', '.join(SCALES)}.")
    try:
        from net2net.experiments._agents import agent_tasks
        from net2net.experiments._surgery_runs import runs_of
    except ImportError as error:
        raise MissingExtraError("agents need Stable-Baselines3: pip install 'net2net[rl]'.") from error
    known = {task.name: task for task in agent_tasks(SCALES[budget])}
    if steps is not None:
        known = {name: replace(task, steps=(steps, steps)) for name, task in known.items()}
    odd = [name for name in names if name not in known]
    if odd:
        raise OptionError(f"there is no agent {odd[0]!r}; use some of {', '.join(known)}.")
    file = folder / "results.jsonl"
    settings = {"experiment": "surgery", "budget": budget, "steps": {n: list(t.steps) for n, t in known.items()}}
    found = begin(file, settings)
    jobs = [(known[name], seed) for seed in seeds for name in names or known]
    total, done = float(sum(sum(task.steps) for task, _ in jobs)), 0.0
    for task, seed in jobs:
        if not all(seed in found.of(task.name, arm) for arm in ARMS):
            add(file, list(runs_of(task, seed)))
        done += sum(task.steps)
        if progress is not None:
            progress(done, total)
    return read_surgery(file)
