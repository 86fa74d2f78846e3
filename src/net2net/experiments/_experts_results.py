"""What the experiment on experts leaves behind: one file of JSON lines, like those of the other experiments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from net2net.errors import OptionError


@dataclass(frozen=True)
class ExpertRun:
    """A teacher or an arm, trained once.

    Attributes:
        arm, rate, seed: which.
        steps, tokens, flops: of the run itself; `flops` of matrix products, forward and backward, as torch counts them.
        start: the validation loss before its first step.
        choice, score: losses at the end on the two held-out parts; rates are chosen on the first.
        parameters: at the end.
        seconds: of its steps, processor time of one core (on a GPU that of the wall).
        error: of the growth, relative to the teacher's largest output; None where nothing grew.
        scoring: FLOPs of the utility of experts.
        curve: pairs of a step and the loss on some of the validation part.
    """

    arm: str
    rate: float
    seed: int
    steps: int
    tokens: int
    flops: float
    start: float
    choice: float
    score: float
    parameters: int
    seconds: float
    error: float | None = None
    scoring: float = 0.0
    curve: tuple[tuple[int, float], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class ExpertResults:
    """A results file, read: `settings` are what it was run with."""

    settings: Mapping[str, Any]
    runs: tuple[ExpertRun, ...] = ()

    def of(self, arm: str, seed: int) -> dict[float, ExpertRun]:
        """Rate -> run."""
        return {run.rate: run for run in self.runs if (run.arm, run.seed) == (arm, seed)}


def read_experts(file: Path) -> ExpertResults:
    """Read a results file; a last line that was cut off doesn't count.

    Raises:
        OptionError: it is no results file of this experiment.
    """
    lines = file.read_text().splitlines()
    try:
        settings = json.loads(lines[0])
        if settings["experiment"] != "experts":
            raise ValueError(settings["experiment"])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise OptionError(f"{file.name} is not a results file of 'experts'; name another output folder.") from error
    runs = []
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        runs.append(ExpertRun(**{**entry, "curve": tuple((int(s), float(v)) for s, v in entry["curve"])}))
    return ExpertResults(settings, tuple(runs))


def begin(file: Path, settings: Mapping[str, Any]) -> ExpertResults:
    """Begin a results file, or go on with the one that is there.

    Raises:
        OptionError: it is of other settings.
    """
    found = read_experts(file) if file.exists() else ExpertResults(settings)
    if dict(found.settings) != json.loads(json.dumps(settings)) and file.exists():
        raise OptionError(f"{file} holds results of other settings; give the same, or name another output folder.")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".new")
    partial.write_text("".join(f"{json.dumps(entry)}\n" for entry in (found.settings, *map(asdict, found.runs))))
    partial.rename(file)
    return found


def add(file: Path, run: ExpertRun) -> None:
    """Add a finished run, and bring it to the disk."""
    with open(file, "a") as stream:
        stream.write(f"{json.dumps(asdict(run))}\n")
        stream.flush()
        os.fsync(stream.fileno())
