"""What the experiment on surgery leaves behind: one file of JSON lines, like those of the other experiments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from net2net.errors import OptionError

ARMS = {
    "before": "before the surgery",
    "grown": "operated on",
    "continued": "trained on as it was",
    "scratch": "the big agent from scratch",
}


@dataclass(frozen=True)
class AtSurgery:
    """The agent before and after the surgery in the same episodes.

    Attributes:
        episodes, steps: how many were compared.
        same: whether the best action was the same at every step.
        sampled: the same for actions that were drawn with the same random numbers; None where that was not compared.
        before, after: mean returns.
        equal: whether the return of every single episode is the same.
    """

    episodes: int
    steps: int
    same: bool
    sampled: bool | None
    before: float
    after: float
    equal: bool


@dataclass(frozen=True)
class AgentRun:
    """One agent, trained once.

    Attributes:
        task, arm, seed: which.
        parameters: of its policy, target networks included.
        points: steps of the environment so far, and the mean return of 20 episodes.
        at: of "grown", the comparison at the surgery.
    """

    task: str
    arm: str
    seed: int
    parameters: int
    points: tuple[tuple[int, float], ...]
    at: AtSurgery | None = None

    def score(self, until: float = float("inf")) -> float:
        """The mean of the last three points up to a step: one point of 20 episodes is noisy."""
        some = [value for step, value in self.points if step <= until][-3:]
        return sum(some) / len(some)


@dataclass(frozen=True)
class SurgeryResults:
    """A results file, read: `settings` are what it was run with."""

    settings: Mapping[str, Any]
    runs: tuple[AgentRun, ...]

    def of(self, task: str, arm: str) -> dict[int, AgentRun]:
        """Seed -> run."""
        return {run.seed: run for run in self.runs if (run.task, run.arm) == (task, arm)}

    def seeds(self, task: str) -> list[int]:
        """Those of which every arm is there."""
        return sorted(set.intersection(*(set(self.of(task, arm)) for arm in ARMS)))


def read_surgery(file: Path) -> SurgeryResults:
    """Read a results file; a last line that was cut off doesn't count.

    Raises:
        OptionError: it is no results file of this experiment.
    """
    lines = file.read_text().splitlines()
    runs = []
    try:
        settings = json.loads(lines[0])
        if settings["experiment"] != "surgery":
            raise ValueError(settings["experiment"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise OptionError(f"{file.name} is not a results file of 'surgery'; name another output folder.") from error
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        at = None if entry["at"] is None else AtSurgery(**entry["at"])
        runs.append(AgentRun(**{**entry, "at": at, "points": tuple((int(s), float(v)) for s, v in entry["points"])}))
    return SurgeryResults(settings, tuple(runs))


def begin(file: Path, settings: Mapping[str, Any]) -> SurgeryResults:
    """Begin a results file, or go on with the one that is there.

    Raises:
        OptionError: it is of other settings.
    """
    if file.exists():
        found = read_surgery(file)
        if dict(found.settings) != json.loads(json.dumps(settings)):
            raise OptionError(f"{file} holds results of other settings; give the same, or name another output folder.")
        text = "".join(f"{json.dumps(entry)}\n" for entry in (found.settings, *map(asdict, found.runs)))
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        text, found = json.dumps(settings) + "\n", SurgeryResults(settings, ())
    partial = file.with_suffix(".new")
    partial.write_text(text)
    partial.rename(file)
    return found


def add(file: Path, runs: list[AgentRun]) -> None:
    """Add finished runs, and bring them to the disk."""
    with open(file, "a") as stream:
        stream.write("".join(f"{json.dumps(asdict(run))}\n" for run in runs))
        stream.flush()
        os.fsync(stream.fileno())
