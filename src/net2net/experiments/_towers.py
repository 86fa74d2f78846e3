"""Images and the captions of their classes: two towers that learn which belong together, as in CLIP."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, normalize
from torch.optim import AdamW, Optimizer

from net2net.experiments._images import ImageData, batches, normalised
from net2net.experiments._language import Block, LanguageShape
from net2net.experiments._tasks import warm_up

# A caption is one of these with the name of the class as one word in the gap; all have as many words.
_SENTENCES = ("a photo of a {}", "a picture of the {}", "one {} in an image", "here you see a {}", "this is a small {}")
_JOINT = 32
_PART = 250


class Tower(nn.Module):
    """A transformer over what `embed` gives (batch x positions x channels): one vector for each of the batch."""

    frequencies: Tensor

    def __init__(self, embed: nn.Module, shape: LanguageShape, causal: bool) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = nn.ModuleList(Block(shape, causal) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-6)
        self.project = nn.Linear(shape.width, _JOINT, bias=False)
        frequencies = 100.0 ** -(torch.arange(0, shape.head, 2) / shape.head)
        self.register_buffer("frequencies", frequencies.repeat(2), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        angles = torch.arange(x.shape[1], device=x.device)[:, None] * self.frequencies
        cosine, sine = angles.cos(), angles.sin()
        for block in self.blocks:
            x = block(x, cosine, sine)
        found: Tensor = self.project(self.norm(x).mean(1))
        return normalize(found, dim=-1)


class Patches(nn.Module):
    """Squares of an image as positions (batch x positions x channels)."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, width, side, stride=side)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layer(images)
        return found.flatten(2).transpose(1, 2)


class TwoTowers(nn.Module):
    """Vectors of images and of captions; those of images have a length that is learned, the inverse temperature.

    Example:
        >>> model = TwoTowers(LanguageShape(16, 1, 8), channels=1, patch=2, vocabulary=30)
        >>> image, text = model(torch.randn(3, 1, 8, 8), torch.zeros(3, 5, dtype=torch.int64))
        >>> image.shape, text.shape
        (torch.Size([3, 32]), torch.Size([3, 32]))
    """

    def __init__(self, shape: LanguageShape, channels: int, patch: int, vocabulary: int) -> None:
        super().__init__()
        self.image = Tower(Patches(channels, shape.width, patch), shape, causal=False)
        self.text = Tower(nn.Embedding(vocabulary, shape.width), shape, causal=True)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, images: Tensor, captions: Tensor) -> tuple[Tensor, Tensor]:
        return self.log_scale.exp() * self.image(images), self.text(captions)


@dataclass(frozen=True)
class TowersTask:
    """Which image and which caption belong together; AdamW, a constant rate and a linear decay over the last fifth.

    All pairs of one class in a batch belong together (Yang et al., 2022, "Unified Contrastive Learning in
    Image-Text-Label Space"). The score is the loss in nats of telling an image's class by its similarity to the
    captions of all classes, averaged over the sentences: as CLIP is asked without training on classes.
    """

    data: ImageData
    batch: int = 64

    features = MappingProxyType({"image.norm": "image.norm", "text.norm": "text.norm"})

    @property
    def name(self) -> str:
        return self.data.name

    @property
    def settings(self) -> dict[str, Any]:
        return {"batch": self.batch, "captions": len(_SENTENCES), "training": len(self.data.training)}

    def build(self, shape: LanguageShape) -> nn.Module:
        _, channels, _, side = self.data.training.images.shape
        return TwoTowers(shape, channels, 4 if side > 16 else 2, len(_words()) + self.data.classes)

    def batches(self, steps: int, seed: int) -> Iterator[tuple[tuple[Tensor, Tensor], Tensor]]:
        """Images with a caption each, and their classes."""
        data, generator = self.data, torch.Generator().manual_seed(seed)
        shift = data.training.images.shape[-1] // 14
        for images, labels in batches(
            data.training, self.batch, steps, seed, mean=data.mean, std=data.std, shift=shift
        ):
            sentences = torch.randint(len(_SENTENCES), labels.shape, generator=generator)
            yield (images, captions(labels, sentences)), labels

    def loss(self, model: nn.Module, inputs: tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
        """The contrastive loss, in both directions."""
        image, text = model(*inputs)
        same = (labels[:, None] == labels).to(image.dtype)
        wanted = same / same.sum(1, keepdim=True)
        likeness = image @ text.T
        there, back = ((wanted * log_softmax(each, 1)).sum(1).mean() for each in (likeness, likeness.T))
        return -0.5 * (there + back)

    def measured(self, model: nn.Module, part: str, device: str) -> float:
        """The score on the images of "choice" or "validation"."""
        examples = getattr(self.data, part)
        images = normalised(examples, self.data.mean, self.data.std)
        classes = torch.arange(self.data.classes)
        asked = [captions(classes, torch.full_like(classes, k)).to(device) for k in range(len(_SENTENCES))]
        total = 0.0
        for some, labels in zip(torch.split(images, _PART), torch.split(examples.labels, _PART), strict=True):
            likeness = sum((torch.matmul(*_pair(model, some.to(device), words)) for words in asked), torch.zeros(()))
            loss = nn.functional.cross_entropy(likeness / len(asked), labels.to(device), reduction="sum")
            total += float(loss)
        return total / len(images)

    def optimizer(self, model: nn.Module, rate: float) -> Optimizer:
        return AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.1)

    def factor(self, step: int, steps: int, decays: bool) -> float:
        left = (steps - step) / max(1, steps // 5)
        return warm_up(step, steps) * (min(1.0, left) if decays else 1.0)


def captions(labels: Tensor, sentences: Tensor) -> Tensor:
    """The words (ids, one row each) of a caption for each class, in the sentence of that number.

    Example:
        >>> captions(torch.tensor([1, 0]), torch.tensor([0, 2])).shape
        torch.Size([2, 5])
    """
    words = _words()
    table = torch.tensor([[-1 if w == "{}" else words.index(w) for w in s.split()] for s in _SENTENCES])
    rows = table[sentences]
    return torch.where(rows < 0, len(words) + labels[:, None], rows)


def _words() -> list[str]:
    return sorted({word for sentence in _SENTENCES for word in sentence.split()} - {"{}"})


def _pair(model: nn.Module, images: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
    image, text = model(images, words)
    return image, text.T
