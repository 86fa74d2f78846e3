"""A course: one network from its first step to its last, of one size or grown on the way; and what it ended at."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from net2net.errors import OptionError


@dataclass(frozen=True)
class Stage:
    """A growth on the way.

    Attributes:
        after: the part of the steps that is finished then.
        growth: the arguments of `net2net.grow`.
        state: what the optimizer goes on with: "carried", "new reset" (zeros for what is new, not what the library
            sets) or "reset" (zeros for all).
        again: the learning rate of all parameters rises once more, over the ramp.
    """

    after: float
    growth: Mapping[str, Any]
    state: str = "carried"
    again: bool = True


@dataclass(frozen=True)
class Course:
    """How a network is trained, but for its learning rate and seed.

    Attributes:
        key, label: its name in files, and for readers.
        shape: the sizes that it starts with.
        stages: its growths in their order; none for a network of one size.
        rate_of: the course whose learning rate it has: its own key if all rates are tried for it.
        length: its steps, as a part of the steps of the experiment.
    """

    key: str
    label: str
    shape: Any
    stages: tuple[Stage, ...]
    rate_of: str
    length: float = 1.0

    @property
    def tuned(self) -> bool:
        """Whether all learning rates are tried for it."""
        return self.rate_of == self.key


@dataclass(frozen=True)
class Ended:
    """A course, carried out once.

    Attributes:
        course, rate, seed: which.
        steps, flops: of the whole run; `flops` of matrix products, forward and backward, as torch counts them.
        choice, score: mean losses on the two held-out parts; learning rates are chosen on the first.
        seconds, wall: processor time of one core (on a GPU that of the wall) and time on the wall, growths included.
        growing: the part of `seconds` that the growths took.
        parameters: at the end.
        jumps: for each growth, how much higher the loss on the first held-out part was right after it.
        curve: pairs of a step and the mean training loss since the pair before.
    """

    course: str
    rate: float
    seed: int
    steps: int
    flops: float
    choice: float
    score: float
    seconds: float
    wall: float
    growing: float
    parameters: int
    jumps: tuple[float, ...] = ()
    curve: tuple[tuple[int, float], ...] = field(default=(), repr=False)

    @property
    def name(self) -> str:
        """Of its file."""
        return file_name(self.course, self.rate, self.seed)


def file_name(course: str, rate: float, seed: int) -> str:
    """The file of a run in its folder.

    Example:
        >>> file_name("fixed-8", 4e-3, 1)
        'fixed-8.rate-0.004.seed-1.json'
    """
    return f"{course}.rate-{rate:g}.seed-{seed}.json"


def open_folder(folder: Path, settings: Mapping[str, Any]) -> Path:
    """The folder of an experiment's runs; its settings are kept beside them.

    Raises:
        OptionError: it holds runs of other settings.
    """
    runs = folder / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    file, mine = folder / "settings.json", json.loads(json.dumps(dict(settings)))
    if file.exists() and json.loads(file.read_text()) != mine:
        raise OptionError(f"{folder} holds runs of other settings; give the same ones, or name another output folder.")
    file.write_text(json.dumps(mine, indent=2) + "\n")
    return runs


def keep(runs: Path, ended: Ended) -> None:
    """Write a run down; a crash leaves no half of a file."""
    partial = runs / f"{ended.name}.new"
    partial.write_text(json.dumps(asdict(ended)) + "\n")
    os.replace(partial, runs / ended.name)


def kept(runs: Path) -> Iterator[Ended]:
    """All runs that are written down, in the order of their names."""
    for file in sorted(runs.glob("*.json")):
        entry = json.loads(file.read_text())
        curve = tuple((step, loss) for step, loss in entry.pop("curve"))
        yield Ended(**{**entry, "jumps": tuple(entry["jumps"]), "curve": curve})
