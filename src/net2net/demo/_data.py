"""The data: 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from net2net.errors import MissingExtraError

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
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < size:
            order = torch.cat([order, torch.randperm(len(split), generator=generator)])
        chosen, order = order[:size], order[size:]
        yield noisy(Split(_shifted(split.images[chosen], generator), split.digits[chosen]), generator)


def noisy(split: Split, generator: torch.Generator) -> Split:
    """The images under Gaussian noise."""
    noise = torch.randn(split.images.shape, generator=generator)
    return Split(split.images + NOISE * noise, split.digits)


def _shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """The images, each moved by -1, 0 or 1 pixel along both axes over the background."""
    count, _, height, width = images.shape
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    down, right = torch.randint(0, 3, (2, count), generator=generator)
    rows = (down[:, None] + torch.arange(height))[:, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, :]
    return padded[torch.arange(count)[:, None, None], 0, rows, columns][:, None]
