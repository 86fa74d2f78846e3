"""Carries out the family's arms: every one is a chain, and goes on where it was interrupted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net._version import __version__
from net2net.chain import Chain, FeatureDistillation, Ledger, Link, take_over
from net2net.errors import OptionError
from net2net.experiments._family import ARMS, FamilyArm, FamilySize
from net2net.experiments._plan import CHOICE_SEED
from net2net.experiments._starts import fresh
from net2net.experiments._tasks import TextTask
from net2net.experiments._training import cross_entropy
from net2net.training import flops_of

_PART = 128


class FamilyData(Protocol):
    """What a family learns, and how."""

    @property
    def name(self) -> str:
        """What the data are, in words."""

    @property
    def settings(self) -> dict[str, Any]:
        """How it is trained, for the record."""

    @property
    def features(self) -> str | Mapping[str, str]:
        """The modules whose features are distilled."""

    def build(self, shape: Any) -> nn.Module:
        """A network with random weights."""

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Any, Tensor]]:
        """Inputs (a tensor, or a tuple of them) and targets to learn from, fixed by the seed."""

    def loss(self, model: nn.Module, inputs: Any, targets: Tensor) -> Tensor:
        """The loss of a batch."""

    def measured(self, model: nn.Module, part: str, device: str) -> float:
        """The score on "choice" or "validation": a loss."""

    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        """The optimizer of a network that starts from random weights."""

    def factor(self, step: int, steps: int, decays: bool) -> float:
        """The learning rate at a step, from 0, relative to its peak."""


@dataclass(frozen=True)
class BytesTask(TextTask):
    """The next byte of a text, for a family of language models."""

    features = "norm"

    def loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        """The cross-entropy, in nats per byte."""
        return cross_entropy(model(inputs), targets)

    def measured(self, model: nn.Module, part: str, device: str) -> float:
        """The loss on what was held out."""
        ids, targets = (t.to(device) for t in self.held_out(part))
        losses = [
            float(self.loss(model, x, y)) * len(x)
            for x, y in zip(torch.split(ids, _PART), torch.split(targets, _PART), strict=True)
        ]
        return sum(losses) / len(ids)


@dataclass(frozen=True)
class FamilyResults:
    """What was run.

    Attributes:
        settings: data, sizes, seeds.
        first: the learning rate of the smallest model.
        chosen: of the others, by arm.
        choices: the largest model's loss on the held-out part for choosing, by arm and rate.
        ledgers: what each arm cost and scored, by arm and seed; losses on the validation part.
    """

    settings: Mapping[str, Any]
    first: float
    chosen: Mapping[str, float]
    choices: Mapping[str, Mapping[str, float]]
    ledgers: Mapping[tuple[str, int], Ledger]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        runs = [{"arm": arm, "seed": seed, "models": led.as_json()} for (arm, seed), led in self.ledgers.items()]
        return {"settings": dict(self.settings), "first": self.first, "chosen": dict(self.chosen),
                "choices": dict(self.choices), "runs": runs}  # fmt: skip

    @staticmethod
    def of(content: Mapping[str, Any]) -> FamilyResults:
        """The results that `as_json` wrote."""
        ledgers = {(run["arm"], run["seed"]): Ledger.of(run["models"]) for run in content["runs"]}
        return FamilyResults(content["settings"], content["first"], content["chosen"], content["choices"], ledgers)


@dataclass(frozen=True)
class FamilyTask:
    """What every process needs: the data, the sizes, where results go."""

    data: FamilyData
    size: FamilySize
    folder: Path
    device: str = "cpu"

    @property
    def distillation(self) -> FeatureDistillation:
        """What the arms that distil do."""
        return FeatureDistillation(self.data.features, cap=1.0, anneal=1.0)

    def chain(self, arm: FamilyArm, seed: int, rate: float, first: float) -> Chain:
        """An arm as a chain; the smallest model has a rate of its own, the same in all arms."""
        size = self.size
        which = range(len(size.shapes)) if arm.models == "all" else (0, len(size.shapes) - 1)
        return Chain(
            [size.shapes[i] for i in which],
            lambda shape: self.data.build(shape).to(self.device),
            tuple(t[:4] for t in self._moved(next(iter(self.data.batches(1, seed)))[0])),
            [max(1, round(size.steps * self._budget(arm, i))) for i in which],
            distillation=self.distillation if arm.distils else None,
            init=arm.init,
            optimizer=self._optimizer,
            rates=[first, *(rate for _ in which[1:])],
            names=[str(i + 1) for i in which],
            seed=seed,
        )

    def _budget(self, arm: FamilyArm, index: int) -> float:
        size = self.size
        if arm.budget == "full" or index == 0:
            return 1.0
        if arm.budget == "falling":
            return size.parts[index]
        inputs = self._moved(next(iter(self.data.batches(1, 0)))[0], "cpu")
        costs = [float(flops_of(fresh(self.data, shape, 0), inputs, {})) for shape in size.shapes]
        return sum(cost * part for cost, part in zip(costs, size.parts, strict=True)) / costs[-1]

    def _optimizer(self, model: nn.Module) -> Optimizer:
        return self.data.optimizer(model, 0.0)

    def _moved(self, inputs: Any, device: str | None = None) -> tuple[Tensor, ...]:
        """The inputs as the arguments of the forward, where the model is."""
        several = inputs if isinstance(inputs, tuple) else (inputs,)
        return tuple(t.to(device or self.device) for t in several)

    def train(self, model: nn.Module, link: Link, part: str) -> float:
        """Train at the task's schedule, from its rise to its end; the loss on what was held out."""
        optimizer = link.optimizer
        assert optimizer is not None
        rate = optimizer.param_groups[0]["lr"]
        data = list(self.data.batches(link.steps, 10_000 * (link.index + 1) + link.seed))
        model.train()
        for step in link.loop():
            for group in optimizer.param_groups:
                group["lr"] = rate * self.data.factor(step, link.steps, True)
            inputs = self._moved(data[step][0])
            given = inputs if len(inputs) > 1 else inputs[0]
            loss = self.data.loss(model, given, data[step][1].to(self.device))
            loss = loss + link.distill(given, task_loss=loss)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
            optimizer.step()
        model.eval()
        with torch.no_grad():
            return self.data.measured(model, part, self.device)

    def place(self, arm: FamilyArm, seed: int, rate: float) -> Path:
        """The folder of one run of an arm."""
        return self.folder / "runs" / f"{arm.key}-{seed}-{rate:g}"

    def smallest(self, seed: int, rate: float) -> Ledger:
        """The smallest model, trained: all arms of a seed begin with it."""
        chain = self.chain(ARMS[0], seed, rate, rate)
        return chain.run(self._training(seed), self._first(seed, rate), until=1).ledger

    def carried_out(self, arm: FamilyArm, seed: int, rate: float, first: float) -> Ledger:
        """Run an arm, or go on with it, from the smallest model of its seed."""
        chain, folder = self.chain(arm, seed, rate, first), self.place(arm, seed, rate)
        if not (folder / "ledger.json").exists():
            take_over(chain, self._first(seed, first), folder)
        return chain.run(self._training(seed), folder).ledger

    def _first(self, seed: int, rate: float) -> Path:
        return self.folder / "runs" / f"smallest-{seed}-{rate:g}"

    def _training(self, seed: int) -> Callable[[nn.Module, Link], float]:
        part = "choice" if seed == CHOICE_SEED else "validation"
        return lambda model, link: self.train(model, link, part)


def run_family(
    data: FamilyData,
    size: FamilySize,
    folder: Path,
    *,
    seeds: Sequence[int],
    device: str = "cpu",
    progress: Callable[[float, float], None] | None = None,
) -> FamilyResults:
    """Run every arm that isn't finished: rates are chosen first, by a seed that isn't reported.

    The smallest model chooses its rate alone; then each arm chooses one for its other models, by the score of the
    largest.

    Returns:
        The results; they are in "results.json" of the folder too.

    Raises:
        OptionError: the folder holds results of other settings.
    """
    task = FamilyTask(data, size, folder, device)
    settings = _settings(task, seeds)
    _check(folder / "settings.json", settings)
    done, total = 0, len(size.rates) + len(ARMS) * (len(size.rates) + len(seeds)) + len(seeds)

    def told(ledger: Ledger) -> Ledger:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)
        return ledger

    losses = {rate: told(task.smallest(CHOICE_SEED, rate)).entries[0].score for rate in size.rates}
    first = _best(losses)
    choices: dict[str, dict[float, float]] = {}
    for arm in ARMS:
        tries = {rate: told(task.carried_out(arm, CHOICE_SEED, rate, first)) for rate in size.rates}
        choices[arm.key] = {rate: ledger.entries[-1].score for rate, ledger in tries.items()}
    chosen = {key: _best(tries) for key, tries in choices.items()}
    ledgers: dict[tuple[str, int], Ledger] = {}
    for seed in seeds:
        told(task.smallest(seed, first))
        for arm in ARMS:
            ledgers[arm.key, seed] = told(task.carried_out(arm, seed, chosen[arm.key], first))
    tried = {key: {f"{rate:g}": loss for rate, loss in tries.items()} for key, tries in choices.items()}
    results = FamilyResults(settings, first, chosen, tried, ledgers)
    (folder / "results.json").write_text(json.dumps(results.as_json(), indent=1) + "\n")
    return results


def _best(losses: Mapping[float, float]) -> float:
    """The rate with the lowest loss; one that diverged is none."""
    return min(losses, key=lambda rate: losses[rate] if math.isfinite(losses[rate]) else math.inf)


def _settings(task: FamilyTask, seeds: Sequence[int]) -> dict[str, Any]:
    size = {name: value for name, value in asdict(task.size).items() if name != "shapes"}
    shapes = [asdict(shape) for shape in task.size.shapes]
    return json.loads(  # type: ignore[no-any-return]  # as it is read again
        json.dumps({"data": task.data.name, **task.data.settings, "models": shapes, **size, "seeds": list(seeds),
                    "distillation": repr(task.distillation), "version": __version__})
    )  # fmt: skip


def _check(file: Path, settings: dict[str, Any]) -> None:
    """Begin a folder, or go on in one that has the same settings; more seeds may be asked for."""
    if file.exists():
        try:
            found = json.loads(file.read_text())
        except ValueError as error:
            raise OptionError(f"{file} can't be read; name another output folder.") from error
        free = dict.fromkeys(("seeds", "version"))
        if {**found, **free} != {**settings, **free}:
            raise OptionError(
                f"{file} holds other settings; give the same ones to go on, or name another output folder."
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(settings, indent=1) + "\n")
