"""What a model learns from the smaller one beside its task: features or logits, as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from net2net.errors import OptionError

# From the student's and the teacher's tensors to a number.
Compare = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Distillation:
    """What both kinds have: where, how much, and for how long."""

    features: str | Mapping[str, str] = "output"
    weight: float = 1.0
    axis: int = -1
    cap: float | None = None
    anneal: float | None = None

    def __post_init__(self) -> None:
        if not self.features:
            raise OptionError("features= names none; give the path of a module, or 'output'.")
        if not 0 <= self.weight < math.inf:
            raise OptionError(f"weight={self.weight!r} must be 0 or more.")
        if self.cap is not None and not 0 < self.cap < math.inf:
            raise OptionError(f"cap={self.cap!r}; give the part of the task's loss that the term may be, or None.")
        if self.anneal is not None and not 0 < self.anneal <= 1:
            raise OptionError(
                f"anneal={self.anneal!r}; give the part of the steps after which the weight is 0, or None."
            )

    @property
    def places(self) -> Mapping[str, str]:
        """Path in the teacher -> path in the student."""
        return {self.features: self.features} if isinstance(self.features, str) else self.features

    def weight_at(self, progress: float) -> float:
        """The weight when this part of the steps is done."""
        return self.weight if self.anneal is None else self.weight * max(0.0, 1.0 - progress / self.anneal)


@dataclass(frozen=True)
class FeatureDistillation(_Distillation):
    """The student's features are drawn to those of its smaller teacher: weight x || F_teacher - T(F_student) ||^2.

    T is a linear projection, made where the widths differ, trained along and thrown away after.

    Attributes:
        features: where they are: the path of a module, the same in both models ("model.layers.-1": numbers may be
            negative, so that one path fits any depth), or pairs {path in the teacher: path in the student}. "output" is
            what the model gives, "output.NAME" a part of it.
        weight: of the term in the loss.
        normalize: compare directions: features are divided by their norm along `axis`, and the squared distance is
            summed over it (from 0 to 4) and averaged over the rest. Else it is the mean over all entries.
        axis: of the channels: -1 for transformers, 1 for convolutions.
        cap: the term is at most this part of the task's loss, which `link.distill(inputs, task_loss=loss)` must be
            told; None for no cap.
        anneal: the weight falls linearly to 0 over this part of the steps, so that a weaker teacher doesn't hold its
            student back; None for a constant weight.

    Source: Chain-of-Models pre-training: inverse feature distillation, kept below the task's loss.

    Example:
        >>> FeatureDistillation("model.norm", weight=0.5, anneal=0.5).weight_at(0.25)
        0.25
    """

    normalize: bool = True

    def projection(self, before: int, after: int) -> nn.Linear | None:
        """What brings the student's channels to the teacher's; None where there are as many."""
        return None if before == after else nn.Linear(before, after, bias=False)

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The term, before its weight; the channels are on the last axis."""
        if not self.normalize:
            return nn.functional.mse_loss(student, teacher)
        ours, theirs = (nn.functional.normalize(t, dim=-1) for t in (student, teacher))
        return (ours - theirs).square().sum(-1).mean()


@dataclass(frozen=True)
class LogitsDistillation(_Distillation):
    """The student's distribution is drawn to that of its smaller teacher: weight x T^2 x KL(teacher || student).

    Attributes:
        features: where the logits are: "output", "output.logits", a module's path, or pairs as for
            `FeatureDistillation`.
        temperature: T, by which the logits are divided.
        weight, axis, cap, anneal: as for `FeatureDistillation`.

    Source: Hinton, Vinyals and Dean (2015), section 2.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 2.0]])
        >>> float(LogitsDistillation(temperature=2.0).distance(logits, logits))
        0.0
    """

    temperature: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.temperature < math.inf:
            raise OptionError(f"temperature={self.temperature!r} must be above 0.")

    def projection(self, before: int, after: int) -> None:
        """Logits are compared one by one.

        Raises:
            OptionError: there are not as many.
        """
        if before != after:
            raise OptionError(f"the student has {before} logits and its teacher {after}: distil features instead.")

    def distance(self, student: Tensor, teacher: Tensor) -> Tensor:
        """The term, before its weight; the logits are on the last axis."""
        ours, theirs = (nn.functional.log_softmax(t / self.temperature, -1).flatten(0, -2) for t in (student, teacher))
        divergence = nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)
        return divergence * self.temperature**2


Distillation = FeatureDistillation | LogitsDistillation


def capped(term: Tensor, cap: float | None, task_loss: Tensor | None) -> Tensor:
    """The term, scaled down to a part of the task's loss where it is above it.

    Raises:
        OptionError: there is a cap, and the task's loss isn't known.
    """
    if cap is None:
        return term
    if task_loss is None:
        raise OptionError("with cap= the task's loss must be known: link.distill(inputs, task_loss=loss).")
    most = cap * task_loss.detach()
    return term * (most / term.detach().clamp_min(1e-30)).clamp(max=1.0)
