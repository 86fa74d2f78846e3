"""What the networks of an experiment learn: images or text, each with its optimizer and its schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from net2net.experiments._images import ImageData, batches, normalised
from net2net.experiments._inception import Inception, InceptionShape
from net2net.experiments._language import Language, LanguageShape
from net2net.experiments._nexus import NexusShape
from net2net.experiments._text import TextData, consecutive, windows

# The longest rise of the learning rate at the start of a run, in steps; the library's own after a growth.
WARM_UP = 200


class Task(Protocol):
    """Data, networks for it, and how they are trained; the loss is the cross-entropy of the last axis of the logits."""

    @property
    def name(self) -> str:
        """What the data are, in words."""

    @property
    def metric(self) -> str:
        """What counts at the end: "accuracy" or "loss"."""

    @property
    def settings(self) -> dict[str, Any]:
        """How it is trained, for the record."""

    def build(self, shape: Any) -> nn.Module:
        """A network with random weights."""

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Inputs and targets to learn from, fixed by the seed."""

    def held_out(self, part: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        """Inputs and targets of the part "choice" or "validation", or the first of them."""

    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        """The optimizer of a network that starts from random weights."""

    def factor(self, step: int, steps: int, decays: bool) -> float:
        """The learning rate at a step, from 0, relative to its peak."""


def warm_up(step: int, steps: int) -> float:
    """A linear rise over the first tenth of a run, and at most 200 steps: in every arm the same."""
    return min(1.0, (step + 1) / max(1, min(WARM_UP, steps // 10)))


@dataclass(frozen=True)
class ImageTask:
    """Classes of images, with shifted (and flipped) training images; SGD with momentum, cosine to zero."""

    data: ImageData
    batch: int = 128
    flip: bool = False

    metric = "accuracy"

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def settings(self) -> dict[str, Any]:
        return {"batch": self.batch, "flip": self.flip, "training": len(self.data.training)}

    def build(self, shape: InceptionShape) -> nn.Module:
        return Inception(shape, self.data.training.images.shape[1], self.data.classes)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        data = self.data
        side = data.training.images.shape[-1]
        for images, labels in batches(
            data.training, self.batch, steps, seed, mean=data.mean, std=data.std, shift=side // 14, flip=self.flip
        ):
            yield _fast(images), labels

    def held_out(self, part: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        examples = getattr(self.data, part)
        images = normalised(examples, self.data.mean, self.data.std)
        return _fast(images[:most]), examples.labels[:most]

    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        return SGD(model.parameters(), lr=rate, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def factor(self, step: int, steps: int, decays: bool) -> float:
        cosine = 0.5 * (1 + math.cos(math.pi * step / steps)) if decays else 1.0
        return warm_up(step, steps) * cosine


@dataclass(frozen=True)
class TextTask:
    """The next byte of a text; AdamW, a constant rate and a linear decay to zero over the last fifth."""

    data: TextData
    batch: int = 16
    length: int = 64
    windows: int = 512

    metric = "loss"

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def settings(self) -> dict[str, Any]:
        return {"batch": self.batch, "length": self.length, "training": len(self.data.training)}

    def build(self, shape: LanguageShape | NexusShape) -> nn.Module:
        vocabulary = self.data.vocabulary
        return shape.build(vocabulary) if isinstance(shape, NexusShape) else Language(shape, vocabulary)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
        return windows(self.data.training, self.length, self.batch, steps, seed)

    def held_out(self, part: str, most: int | None = None) -> tuple[Tensor, Tensor]:
        ids, targets = consecutive(getattr(self.data, part), self.length, self.windows)
        return ids[:most], targets[:most]

    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        return AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)

    def factor(self, step: int, steps: int, decays: bool) -> float:
        left = (steps - step) / max(1, steps // 5)
        return warm_up(step, steps) * (min(1.0, left) if decays else 1.0)


def examples(task: Task, seed: int, count: int = 4) -> list[Tensor]:
    """Batches of training inputs, to prove a growth on and to calibrate a new BatchNorm with."""
    return [inputs for inputs, _ in islice(task.batches(count, seed), count)]


def _fast(images: Tensor) -> Tensor:
    """The layout in which convolutions with few channels are faster."""
    return images.contiguous(memory_format=torch.channels_last)
