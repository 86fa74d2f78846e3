"""Experiments with a harness of their own, by name: what `net2net reproduce` runs beside those of the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from net2net.errors import OptionError
from net2net.experiments._experts import SIZES as EXPERTS
from net2net.experiments._experts_report import write_experts
from net2net.experiments._experts_run import run_experts
from net2net.experiments._family import SIZES as FAMILIES
from net2net.experiments._family import TOWERS
from net2net.experiments._family_report import write_family
from net2net.experiments._family_run import BytesTask, run_family
from net2net.experiments._frontier import study
from net2net.experiments._frontier_report import write_frontier
from net2net.experiments._images import load_images
from net2net.experiments._late import SCALES, Late, Scale, late_depth
from net2net.experiments._late_width import late_width
from net2net.experiments._nexus import SIZES as NEXUS
from net2net.experiments._nexus_report import write_nexus
from net2net.experiments._nexus_run import run_nexus
from net2net.experiments._search import reproduce_search
from net2net.experiments._surgery import operate
from net2net.experiments._surgery_report import write_surgery
from net2net.experiments._tasks import TextTask
from net2net.experiments._text import load_text
from net2net.experiments._towers import TowersTask


@dataclass(frozen=True)
class Order:
    """What somebody asks of an experiment: the options of `net2net reproduce`.

    Attributes:
        folder: for results and report; an interrupted experiment goes on there.
        data: a file or folder, or None for what comes along.
        seeds: of the reported runs.
        budget: the size of everything.
        steps: instead of those of the budget.
        device: "cpu" or "cuda".
        progress: is called with what is done and what there is in all.
    """

    folder: Path
    data: Path | None = None
    seeds: tuple[int, ...] = (1, 2, 3)
    budget: str = "cpu"
    steps: int | None = None
    device: str = "cpu"
    progress: Callable[[float, float], None] | None = None


class Outcome(Protocol):
    """What an experiment found; its report is in the folder."""

    def text(self) -> str:
        """For a terminal."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""


def _late(make: Callable[[Scale], Late]) -> Callable[[Order], Outcome]:
    def carry_out(order: Order) -> Outcome:
        if order.budget not in SCALES:
            raise OptionError(f"there is no budget {order.budget!r}; use one of {', '.join(SCALES)}.")
        found = study(
            make(SCALES[order.budget]),
            order.folder,
            order.data,
            seeds=order.seeds,
            steps=order.steps,
            device=order.device,
            progress=order.progress,
        )
        return write_frontier(found, order.folder)

    return carry_out


def _search(order: Order) -> Outcome:
    if order.device != "cpu":
        raise OptionError("the experiment on search runs on the cpu only.")
    return reproduce_search(
        order.folder,
        order.data,
        seeds=order.seeds,
        budget=order.budget,
        steps=order.steps,
        progress=order.progress,
    )


def _surgery(order: Order) -> Outcome:
    if order.data is not None or order.device != "cpu":
        raise OptionError("'surgery' has its data from the environments, and trains on the processor.")
    found = operate(order.folder, seeds=order.seeds, budget=order.budget, steps=order.steps, progress=order.progress)
    return write_surgery(found, order.folder)


def _chain(order: Order) -> Outcome:
    if order.budget not in FAMILIES:
        raise OptionError(f"there is no budget {order.budget!r}; use one of {', '.join(FAMILIES)}.")
    size = FAMILIES[order.budget]
    size = size if order.steps is None else replace(size, steps=order.steps)
    text = BytesTask(load_text(order.data), size.batch, size.length, size.windows)
    found = run_family(text, size, order.folder, seeds=order.seeds, device=order.device, progress=order.progress)
    return write_family(found, order.folder)


def _towers(order: Order) -> Outcome:
    if order.budget not in TOWERS:
        raise OptionError(f"there is no budget {order.budget!r}; use one of {', '.join(TOWERS)}.")
    size = TOWERS[order.budget]
    size = size if order.steps is None else replace(size, steps=order.steps)
    task = TowersTask(load_images(order.data), size.batch)
    found = run_family(task, size, order.folder, seeds=order.seeds, device=order.device, progress=order.progress)
    return write_family(found, order.folder)


def _experts(order: Order) -> Outcome:
    if order.budget not in EXPERTS:
        raise OptionError(f"there is no budget {order.budget!r}; use one of {', '.join(EXPERTS)}.")
    size = EXPERTS[order.budget]
    size = size if order.steps is None else replace(size, steps=order.steps)
    text = TextTask(load_text(order.data), size.batch, size.length, size.windows)
    found = run_experts(text, size, order.folder, seeds=order.seeds, device=order.device, progress=order.progress)
    return write_experts(found, order.folder)


def _nexus(order: Order) -> Outcome:
    if order.budget not in NEXUS:
        raise OptionError(f"there is no budget {order.budget!r}; use one of {', '.join(NEXUS)}.")
    size = NEXUS[order.budget]
    size = size if order.steps is None else replace(size, steps=order.steps)
    text = TextTask(load_text(order.data), size.batch, size.length, size.windows)
    found = run_nexus(text, size, order.folder, seeds=order.seeds, device=order.device, progress=order.progress)
    return write_nexus(found, order.folder)


# A new experiment with a harness of its own is a function and its name here.
STUDIES: Mapping[str, Callable[[Order], Outcome]] = {
    "chain": _chain,
    "chain-towers": _towers,
    "experts": _experts,
    "late-depth": _late(late_depth),
    "late-width": _late(late_width),
    "nexus": _nexus,
    "search": _search,
    "surgery": _surgery,
}
