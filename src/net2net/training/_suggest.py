"""Which growth next? Candidates are tried for some steps each, from the same state, on the same batches."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.analysis import analyze
from net2net.analysis import candidates as all_candidates
from net2net.capture import Inputs, require_module
from net2net.errors import GrowthError, OptionError, require_kind
from net2net.operators import grow
from net2net.report import table
from net2net.training._flops import counting

Loss = Callable[[nn.Module, Any], torch.Tensor]


@dataclass(frozen=True)
class Trial:
    """A candidate after its steps.

    `before` and `after` are losses on the batches that are held out; `flops` are those of all of its training steps;
    `parameters` counts the student's. `refused` says why it couldn't be tried.
    """

    name: str
    growth: Mapping[str, Any]
    before: float
    after: float
    flops: int
    parameters: int
    refused: str = ""

    @property
    def gain(self) -> float:
        """How much the loss fell per 10^12 floating-point operations."""
        return (self.before - self.after) / (self.flops / 1e12) if self.flops else float("-inf")


@dataclass(frozen=True)
class Suggestions:
    """All candidates, the best one first by `gain`; "no growth" is among them."""

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The candidate whose loss fell most per operation."""
        return self.trials[0]

    def __str__(self) -> str:
        rows = [
            [t.name, "", "", "", "", t.refused]
            if t.refused
            else [t.name, f"{t.after:.4f}", f"{t.before - t.after:.4f}", f"{t.flops:.2e}", f"{t.gain:.3g}",
                  f"{t.parameters:,} parameters"]
            for t in self.trials
        ]  # fmt: skip
        return table(["growth", "loss", "fell by", "FLOPs", "fell per 1e12", ""], rows, right=(1, 2, 3, 4))


def suggest(
    model: nn.Module,
    optimizer: Optimizer,
    example_inputs: Inputs,
    loss: Loss,
    batches: Sequence[Any],
    *,
    held_out: Sequence[Any],
    candidates: Mapping[str, Mapping[str, Any]] | None = None,
    ramp: int | None = None,
) -> Suggestions:
    """Try growths for a few steps each and say which one lowers the loss most for its computation.

    A short trial favours what learns at once; it says nothing about the end of a long run. The model and its
    optimizer are not changed.

    Args:
        model: the network in training.
        optimizer: the one that trains it.
        example_inputs: as for `grow`.
        loss: of a network on a batch.
        batches: what each candidate trains on, one step each.
        held_out: batches for the losses that are compared.
        candidates: keyword arguments of `net2net.grow` by a name. By default twice as wide for each dimension by itself
            (those of repeated layers together), and one more for each place that can be deepened.
        ramp: steps of the learning-rate ramp; by default a quarter of the batches.

    Returns:
        The trials, the best one first. `print` shows them as a table.

    Raises:
        OptionError: there are no batches.

    Example:
        >>> x, y = torch.randn(64, 4), torch.randn(64, 2)
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> optimizer = torch.optim.AdamW(model.parameters())
        >>> error = lambda network, batch: (network(batch[0]) - batch[1]).square().mean()
        >>> found = suggest(model, optimizer, x[:2], error, [(x, y)] * 4, held_out=[(x, y)])
        >>> sorted(trial.name for trial in found.trials)
        ['0 2x', 'deepen 0', 'no growth']
    """
    require_module(model)
    require_kind(optimizer, Optimizer, "the optimizer", "the torch.optim.Optimizer that trains the model")
    if not batches or not held_out:
        raise OptionError("suggest() needs batches to train on, and held_out ones for the losses that are compared.")
    steps = max(1, len(batches) // 4) if ramp is None else ramp
    trials = []
    plain: Mapping[str, Any] = {}
    for name, growth in {
        "no growth": plain,
        **(_all(model, example_inputs) if candidates is None else candidates),
    }.items():
        try:
            if growth:
                grown = grow(model, example_inputs, **growth)
                student, own = grown.student, grown.optimizer(optimizer, ramp=steps)
            else:
                student, own = copy.deepcopy((model, optimizer))
        except GrowthError as error:
            trials.append(Trial(name, growth, float("nan"), float("nan"), 0, 0, str(error)))
            continue
        before = _measured(student, loss, held_out)
        flops = _trained(student, own, loss, batches)
        count = sum(p.numel() for p in student.parameters())
        trials.append(Trial(name, growth, before, _measured(student, loss, held_out), flops, count))
    return Suggestions(tuple(sorted(trials, key=lambda t: -t.gain)))


def _all(model: nn.Module, inputs: Inputs) -> dict[str, dict[str, Any]]:
    """Each dimension twice as wide, those of repeated layers together; each place one block or layer deeper."""
    found: dict[str, dict[str, Any]] = {}
    for name, one in all_candidates(analyze(model, inputs)).items():
        if one.kind == "width":
            found[f"{name} 2x"] = {"sizes": dict.fromkeys(one.members, 2.0)}
        else:
            found[name] = {"where": dict.fromkeys(one.members, 1)}
    return found


def _trained(model: nn.Module, optimizer: Optimizer, loss: Loss, batches: Sequence[Any]) -> int:
    """Train one step on each batch; how many floating-point operations forward and backward took."""
    model.train()
    with counting() as counter:
        for batch in batches:
            optimizer.zero_grad()
            loss(model, batch).backward()  # type: ignore[no-untyped-call]  # torch's backward has no types
            optimizer.step()
    return int(counter.get_total_flops())


def _measured(model: nn.Module, loss: Loss, batches: Sequence[Any]) -> float:
    model.eval()
    with torch.no_grad():
        return sum(float(loss(model, batch)) for batch in batches) / len(batches)
