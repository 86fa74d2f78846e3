"""The data: 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from net2net.errors import MissingExtraError
from net2net.training import random_order, shifted

TRAINING, VALIDATION = 1000, 300
# Clean digits are too easy: every network gets nearly all of them right, and nothing is left to compare.
NOISE = 0.4
# Each image that is measured on appears under this many draws of noise.
DRAWS = 2


@dataclass(frozen=True)
class Split:
    """Images (n x 1 x 8 x 8, between -1 and 1 before the noise) and their digits."""

    images: torch.Tensor
    digits: torch.Tensor

    def __len__(self) -> int:
        return len(self.digits)


@dataclass(frozen=True)
class Digits:
    """Images to learn from, to choose learning rates on, and to measure the results on."""

    training: Split
    validation: Split
    test: Split


def load() -> Digits:
    """The digits in a fixed random order, cut into training, validation and test images.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("the demo needs scikit-learn: install net2net[demo].") from error
    bunch = load_digits()
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(bunch.target), generator=generator)
    images = torch.tensor(bunch.images, dtype=torch.float32)[order, None] / 8 - 1
    digits = torch.tensor(bunch.target, dtype=torch.int64)[order]

    def measured(start: int, stop: int) -> Split:
        once = Split(images[start:stop], digits[start:stop])
        copies = Split(once.images.repeat(DRAWS, 1, 1, 1), once.digits.repeat(DRAWS))
        return noisy(copies, generator)

    middle = TRAINING + VALIDATION
    return Digits(
        Split(images[:TRAINING], digits[:TRAINING]), measured(TRAINING, middle), measured(middle, len(digits))
    )


def batches(split: Split, size: int, steps: int, seed: int) -> Iterator[Split]:
    """Batches in random order, every image shifted by up to one pixel and noisy; fixed by the seed."""
    generator = torch.Generator().manual_seed(seed)
    for chosen in random_order(len(split), size, steps, generator):
        images = shifted(split.images[chosen], 1, generator, background=-1.0)
        yield noisy(Split(images, split.digits[chosen]), generator)


def noisy(split: Split, generator: torch.Generator) -> Split:
    """The images under Gaussian noise."""
    noise = torch.randn(split.images.shape, generator=generator)
    return Split(split.images + NOISE * noise, split.digits)
