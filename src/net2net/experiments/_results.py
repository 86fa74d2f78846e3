"""What an experiment leaves behind: one file of JSON lines, a line for its settings and one for each finished run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from net2net.errors import OptionError

# Arms with a meaning of their own in every experiment.
TEACHER, SCRATCH, CONTINUED = "teacher", "scratch", "continued"


@dataclass(frozen=True)
class Point:
    """A network after so many steps of a run; step 0 is before any training.

    `train_loss` and `train_accuracy` are means over the batches since the last point (at step 0: None). `loss` and
    `accuracy` are on the validation examples: all of them at the first and the last point, a part of them in between.
    """

    step: int
    train_loss: float | None
    train_accuracy: float | None
    loss: float
    accuracy: float


@dataclass(frozen=True)
class Run:
    """One network, trained once with a schedule that is fully decayed at the end of its budget.

    Attributes:
        arm: how it started; "teacher" for the teacher itself, "scratch" for a random initialisation, "continued" for
            the teacher that trains on without growing.
        budget: the steps as a fraction of the steps that the bigger network gets from scratch; for "continued" that of
            the bigger network's run with the same FLOPs.
        phase: "choice" for a run whose score only chooses a learning rate, "final" for one that is reported.
        rate: the peak of the learning rate.
        steps: of this run.
        seed: of the initialisation and of the order of the data.
        flops: floating-point operations of one training step.
        seconds: median time of one training step, on one core (processor time) or on a GPU (wall time).
        parameters: of the network that was trained.
        error: relative error against the teacher at step 0; None where there is no teacher or it isn't preserved.
        points: the learning curve.
    """

    arm: str
    budget: float
    phase: str
    rate: float
    steps: int
    seed: int
    flops: float
    seconds: float
    parameters: int
    error: float | None
    points: tuple[Point, ...]

    @property
    def key(self) -> tuple[str, float, str, float, int]:
        """What tells a run from all others of its experiment."""
        return (self.arm, round(self.budget, 6), self.phase, self.rate, self.seed)

    def score(self, metric: str) -> float:
        """The final "accuracy" or "loss" on all validation examples."""
        found: float = getattr(self.points[-1], metric)
        return found


@dataclass(frozen=True)
class Header:
    """The settings of an experiment; a results file with others belongs to another experiment.

    Attributes:
        experiment: "wider", "deeper", "explore" or "language".
        title: what it asks, in a line.
        data: what it is trained on, in words.
        metric: "accuracy" (higher is better) or "loss" (lower is better).
        arms: key -> label, in the order of tables; the first is the library's default, teacher and scratch included.
        groups: name of the bigger network -> keys of the arms that train it; one for most experiments.
        budgets: the fractions at which arms end.
        rates: the learning rates that every arm chose from.
        choice_budgets: at which it chose: a run has the rate of the largest of these that isn't above its own budget.
        seeds: of the reported runs.
        steps: of the bigger network from scratch at budget 1.
        settings: everything else that was set (preset, sizes, batch), for the record.
        version: of net2net.
    """

    experiment: str
    title: str
    data: str
    metric: str
    arms: Mapping[str, str]
    groups: Mapping[str, tuple[str, ...]]
    budgets: tuple[float, ...]
    rates: tuple[float, ...]
    choice_budgets: tuple[float, ...]
    seeds: tuple[int, ...]
    steps: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True)
class Results:
    """A results file, read."""

    header: Header
    runs: tuple[Run, ...]

    def final(self, arm: str, budget: float | None = None) -> list[Run]:
        """The reported runs of an arm, of all budgets or of one, in the order of budget and seed."""
        some = [r for r in self.runs if r.arm == arm and r.phase == "final"]
        if budget is not None:
            some = [r for r in some if abs(r.budget - budget) < 1e-6]
        return sorted(some, key=lambda r: (r.budget, r.seed))


def read(file: Path) -> Results:
    """Read a results file. A last line that was cut off while it was written doesn't count.

    Raises:
        OptionError: it is no results file.
    """
    lines = file.read_text().splitlines()
    try:
        header = json.loads(lines[0])
        for name in ("budgets", "rates", "choice_budgets", "seeds"):
            header[name] = tuple(header[name])
        header["groups"] = {name: tuple(keys) for name, keys in header["groups"].items()}
        found = Header(**header)
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"{file.name} is not a results file of an experiment; name another output folder.") from error
    runs = []
    for line in lines[1:]:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        runs.append(Run(**{**entry, "points": tuple(Point(**p) for p in entry["points"])}))
    return Results(found, tuple(runs))


def start_file(file: Path, header: Header) -> Results:
    """Begin a results file, or go on with the one that is there; more seeds than it has may be asked for.

    Raises:
        OptionError: the file is of an experiment with other settings.
    """
    runs: tuple[Run, ...] = ()
    if file.exists():
        found = read(file)
        if _plain(found.header) == _plain(header):
            return found
        if _plain(replace(found.header, seeds=())) != _plain(replace(header, seeds=())) or not set(
            found.header.seeds
        ) <= set(header.seeds):
            raise OptionError(
                f"{file} holds results of other settings; give the same ones to go on, or name another output folder."
            )
        runs = found.runs
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".new")
    lines = [json.dumps(asdict(header)), *(json.dumps(asdict(run)) for run in runs)]
    partial.write_text("".join(f"{line}\n" for line in lines))
    partial.rename(file)
    return Results(header, runs)


def append(file: Path, run: Run) -> None:
    """Add a finished run, and bring it to the disk."""
    with open(file, "r+b") as stream:
        text = stream.read()
        stream.seek(len(text) if text.endswith(b"\n") else text.rfind(b"\n") + 1)  # what a crash cut off goes
        stream.truncate()
        stream.write((json.dumps(asdict(run), allow_nan=True) + "\n").encode())
        stream.flush()
        os.fsync(stream.fileno())


def _plain(header: Header) -> Any:
    return json.loads(json.dumps({**asdict(header), "version": ""}))
