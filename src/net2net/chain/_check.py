"""What a chain will cost and whether its links are exact, before any of its models has weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from net2net.capture import Inputs, examples_of, silent
from net2net.chain._family import Family
from net2net.chain._shallow import shallow
from net2net.chain._start import OVERLAY, built, is_request
from net2net.errors import GrowthError, warn
from net2net.operators import grow, plan_transfer
from net2net.report import table
from net2net.training import flops_of

# Neighbours of a chain should be so far apart (Chain-of-Models pre-training).
_NEAR, _FAR = 2.0, 4.0


@dataclass(frozen=True)
class Expected:
    """One model of a chain before it is trained.

    Attributes:
        name: of the model.
        link: "exact", "overlay", "scratch", or "refused"; "" for the first.
        reason: why the link is not exact.
        parameters: of the model.
        ratio: to the parameters of the model before it; None for the first.
        flops: of a training step: a forward and a backward pass on the inputs of the check.
        teacher_flops: of the teacher's forward pass in such a step, where it distils.
        steps, alone: its budget in the chain, and what it would get alone.
    """

    name: str
    link: str
    reason: str
    parameters: int
    ratio: float | None
    flops: int
    teacher_flops: int
    steps: int
    alone: int

    @property
    def cost(self) -> int:
        """FLOPs of its training in the chain."""
        return self.steps * (self.flops + self.teacher_flops)

    @property
    def cost_alone(self) -> int:
        """FLOPs of training it alone."""
        return self.alone * self.flops

    @property
    def odd_ratio(self) -> bool:
        """Whether it is not 2 to 4 times as large as the model before it."""
        return self.ratio is not None and not _NEAR <= round(self.ratio, 1) <= _FAR


@dataclass(frozen=True)
class Forecast:
    """What `Chain.check` found; `print` shows it as a table."""

    models: tuple[Expected, ...]

    @property
    def exact(self) -> bool:
        """Whether every model begins as the one before it."""
        return all(model.link == "exact" for model in self.models[1:])

    @property
    def flops(self) -> int:
        """Of the whole chain: what the family costs, and what its largest model costs if the others aren't wanted."""
        return sum(model.cost for model in self.models)

    @property
    def family(self) -> float:
        """Cost of the chain relative to training each model alone."""
        return self.flops / sum(model.cost_alone for model in self.models)

    @property
    def largest(self) -> float:
        """Cost of the chain relative to training the largest model alone."""
        return self.flops / self.models[-1].cost_alone

    def summary(self) -> dict[str, Any]:
        """All of it as plain data."""
        models = [{**asdict(m), "cost": m.cost, "cost_alone": m.cost_alone} for m in self.models]
        return {"models": models, "exact": self.exact, "flops": self.flops, "family": self.family,
                "largest": self.largest}  # fmt: skip

    def __str__(self) -> str:
        rows = [
            [m.name, m.link, f"{m.parameters:,}", "" if m.ratio is None else f"{m.ratio:.1f}x", f"{m.flops:.2e}",
             f"{m.teacher_flops:.1e}" if m.teacher_flops else "", f"{m.steps:,}", f"{m.cost:.2e}",
             f"{m.cost_alone:.2e}"]
            for m in self.models
        ]  # fmt: skip
        headers = ["model", "link", "parameters", "ratio", "FLOPs a step", "teacher's", "steps", "in all", "alone"]
        lines = [table(headers, rows, right=range(2, 9)), ""]
        lines += [f"'{m.name}' is {m.link}: {m.reason}" for m in self.models if m.reason]
        lines += [f"'{m.name}' is {m.ratio:.1f} times as large as the one before: 2 to 4 is advised."
                  for m in self.models if m.odd_ratio]  # fmt: skip
        lines.append(f"the family costs {self.family:.0%} of training each model alone,")
        lines.append(f"its largest model, with all before it, {self.largest:.0%} of training that alone.")
        return "\n".join(lines)


def forecast(family: Family, inputs: Inputs | None, alone: int | Sequence[int] | None) -> Forecast:
    """What a chain will cost, and which links are exact.

    Warns:
        Net2NetWarning: a model is not 2 to 4 times as large as the one before it.
    """
    batch = family.inputs if inputs is None else inputs
    count = len(family.models)
    budgets = [family.budgets[0] if alone is None else alone] * count if not isinstance(alone, Sequence) else [*alone]
    found: list[Expected] = []
    before: nn.Module | None = None
    for index, name in enumerate(family.labels):
        model, link, reason = _model(family, index, before)
        size = sum(p.numel() for p in model.parameters())
        ratio = size / found[-1].parameters if found else None
        distils = before is not None and family.distillation is not None
        teachers = _flops(before, batch, False) if before is not None and distils else 0
        steps = family.budgets[index], budgets[index]
        found.append(Expected(name, link, reason, size, ratio, _flops(model, batch, True), teachers, *steps))
        before = model
    odd = [f"'{m.name}' ({m.ratio:.1f}x)" for m in found if m.odd_ratio]
    if odd:
        warn(f"models should be 2 to 4 times as large as the one before: {', '.join(odd)} is not.")
    return Forecast(tuple(found))


def _model(family: Family, index: int, before: nn.Module | None) -> tuple[nn.Module, str, str]:
    """A model, its link, and why that isn't exact."""
    size = family.models[index]
    if before is not None and is_request(size, family.build):
        growth = grow(before, family.inputs, **{"seed": family.seed, **size})
        preserves = growth.plan.preserves
        return growth.student, "exact" if preserves == "exact" else preserves, ""
    model = _without_weights(family, index)
    if before is None:
        return model, "", ""
    init = family.inits[index - 1]
    if init == "scratch":
        return model, init, "it begins with random weights."
    options: Mapping[str, Any] = OVERLAY if init == "overlay" else family.options
    try:
        plan = _planned(before, model.train(before.training), family.inputs, options)
    except GrowthError as error:
        return model, "refused", str(error)
    if init == "overlay":
        return model, init, "the smaller weights lie among random ones, so it computes something else at first."
    words = "its options don't preserve the function."
    return (model, init, "") if plan.preserves == "exact" else (model, plan.preserves, words)


def _planned(teacher: nn.Module, student: nn.Module, inputs: Inputs, options: Mapping[str, Any]) -> Any:
    """The plan of the first blocks, where the models run with these only; else that of the whole models."""
    try:
        return plan_transfer(*shallow(teacher, student), inputs, **options)
    except GrowthError:
        return plan_transfer(teacher, student, inputs, **options)


def _without_weights(family: Family, index: int) -> nn.Module:
    """The model on the meta device; with weights where its class can't be made there, or where others grow from it."""
    if not any(is_request(size, family.build) for size in family.models):
        try:
            with torch.device("meta"), silent():
                return built(family.models[index], family.build, family.seed)
        except (NotImplementedError, RuntimeError):
            pass
    return built(family.models[index], family.build, family.seed)


def _flops(model: nn.Module, inputs: Inputs, training: bool) -> int:
    example = examples_of(inputs)[0]
    return flops_of(model, example.args, example.kwargs, backward=training)
