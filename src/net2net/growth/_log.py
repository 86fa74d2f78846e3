"""A log of the surgeries and growths of one run, a line each: date, step, parameters, change."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from net2net.errors import CheckpointError, OptionError
from net2net.plan import Plan, Row
from net2net.report import starred, table

_MOST = 6  # changes that are told one by one


@dataclass(frozen=True)
class LogEntry:
    """One surgery or growth: when it was, at which step of training, and the parameters before and after."""

    date: str
    step: int | None
    before: int
    after: int
    change: str
    preserves: str
    version: str

    def summary(self) -> dict[str, Any]:
        """The entry as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class GrowthLog:
    """The surgeries and growths of one run, in order; as text a table like table 1 of OpenAI Five's paper."""

    entries: tuple[LogEntry, ...]

    def __str__(self) -> str:
        rows = [
            [e.date[:10], "" if e.step is None else f"{e.step:,}", f"{e.before:,}", f"{e.after:,}", e.change]
            for e in self.entries
        ]
        return table(["date", "step", "parameters", "after", "change"], rows, right=(1, 2, 3))


def append(
    path: str | Path, plan: Plan, parameters: tuple[int, int], step: int | None = None, change: str | None = None
) -> LogEntry:
    """Add a line to a log of surgeries, which is made where there is none.

    Args:
        path: of the log, such as "surgeries.jsonl".
        plan: of the growth.
        parameters: before and after.
        step: of training.
        change: in words; by default what the plan says.

    Raises:
        OptionError: the step is no number, or nothing can be written there.
    """
    if step is not None and (isinstance(step, bool) or not isinstance(step, int) or step < 0):
        raise OptionError(f"step={step!r}: give the number of the training step, or None.")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    words = in_words(plan) if change is None else " ".join(change.split())
    entry = LogEntry(now, step, *parameters, words, plan.preserves, plan.version)
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry.summary()) + "\n")
    except OSError as error:
        raise OptionError(f"{path} can't be written: {error.strerror}.") from error
    return entry


def in_words(plan: Plan) -> str:
    """What a plan changes, in one line; what is done in every layer is told once."""
    found: dict[tuple[str, ...], Row] = {}
    for step in plan.steps:
        for change in step.changes:
            row = change.row()
            found.setdefault((starred(row.what), *map(str, row[1:3])), row)
    texts = [f"{row.what} {row.before} -> {row.after} ({row.how})" for row in found.values()]
    more = [f"and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
    return "; ".join([*texts[:_MOST], *more]) or "nothing"


def read_log(path: str | Path) -> GrowthLog:
    """The log of surgeries in a file.

    Args:
        path: of a file that `growth.log` wrote.

    Returns:
        The log; `print` shows it as a table.

    Raises:
        CheckpointError: there is no such file, or a line isn't one of such a log.

    Source: OpenAI et al. (2019), "Dota 2 with Large Scale Deep Reinforcement Learning", table 1.

    Example:
        >>> import tempfile, torch, net2net
        >>> file = f"{tempfile.mkdtemp()}/surgeries.jsonl"
        >>> policy = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2))
        >>> growth = net2net.surgery(policy, torch.randn(5, 2), features={0: net2net.Features(2, 3)})
        >>> growth.log(file, step=84_432).change
        'input input 2 -> 3 (new 2)'
        >>> [(entry.step, entry.before, entry.after) for entry in read_log(file).entries]
        [(84432, 42, 50)]
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise CheckpointError(f"{path} can't be read: {reason}.") from error
    return GrowthLog(tuple(_entry(line, k, path) for k, line in enumerate(lines, start=1) if line.strip()))


def _entry(line: str, number: int, path: str | Path) -> LogEntry:
    try:
        return LogEntry(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"line {number} of {path} is no line of a log of growths: {error}.") from error
