"""Images to learn from, to choose learning rates on and to report results on; and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from net2net.errors import MissingExtraError, OptionError
from net2net.experiments._readers import ImageSet, Part, read_folder
from net2net.experiments._rows import MapDataset, read_rows
from net2net.training import random_order, shifted

DIGITS = "scikit-learn's digits"
# Enough to tell learning rates apart: half a per cent of accuracy is 25 images of 5,000.
MOST_CHOICE = 5000


@dataclass(frozen=True)
class Examples:
    """Images (uint8, n x channels x height x width) and their classes (int64, n)."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ImageData:
    """One data set in three parts.

    Attributes:
        name: in words, with what a reader of the results must know about these images.
        training: to learn from.
        choice: held out of the training images; learning rates are chosen on them.
        validation: the set's own test images; results are reported on them. The images of `choice` and of `validation`
            lie in such an order that any first part holds every class in proportion.
        classes: how many there are.
        mean, std: of each channel over the training images, of pixels between 0 and 1.
    """

    name: str
    training: Examples
    choice: Examples
    validation: Examples
    classes: int
    mean: Tensor
    std: Tensor


def load_images(source: Path | str | None, *, training: int | None = None) -> ImageData:
    """The image data set in a folder, or scikit-learn's digits.

    Args:
        source: a folder with IDX files (MNIST, Fashion-MNIST), with CIFAR-10 or CIFAR-100 in their binary layout, or
            with one .npz of train_x, train_y, test_x and test_y (uint8 images, height x width or height x width x
            channels); None for the 1,797 digits of 8 x 8 pixels that come with scikit-learn.
        training: learn from this many training images only.

    Raises:
        OptionError: the folder holds no data set or several, or a file of it is damaged.
        MissingExtraError: scikit-learn (for the digits) or Pillow (for JPEG images) is not installed.

    Example:
        >>> data = load_images(None, training=100)
        >>> data.name, tuple(data.training.images.shape), len(data.choice), len(data.validation), data.classes
        ("scikit-learn's digits", (100, 1, 8, 8), 300, 497, 10)
    """
    return _digits(training) if source is None else _split(read_folder(Path(source)), training)


def from_datasets(
    training: MapDataset, validation: MapDataset, *, name: str, image: str | None = None, label: str | None = None
) -> ImageData:
    """A data set of torchvision's kind or a Hugging Face one: anything with a length and numbered rows.

    Every row is read once, so a random transform is drawn once. A row is a pair (image, class) or a dict. Images are of
    Pillow, tensors (channels x height x width), arrays or nested lists (height x width x channels), in pixels from 0 to
    255 or floats from 0 to 1, all of one size.

    Args:
        training: the rows to learn from; a tenth, at most 5,000, is held out to choose learning rates on.
        validation: the rows to report results on.
        name: what reports call the data.
        image: the column with the images, where rows are dicts; found by itself if it is "image" or "img".
        label: the column with the classes; found by itself if it is "label", "labels" or "fine_label".

    Raises:
        OptionError: rows, images or classes are of another kind, or images differ in size.
    """
    parts = [read_rows(rows, part, image, label) for rows, part in ((training, "training"), (validation, "validation"))]
    return _split(ImageSet(name, parts[0], parts[1]), None)


def batches(
    examples: Examples,
    size: int,
    steps: int,
    seed: int,
    *,
    mean: Tensor,
    std: Tensor,
    shift: int = 2,
    flip: bool = False,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of normalised images and their classes, in random order; fixed by the seed.

    Each image is moved by up to `shift` pixels over a black background and, with `flip`, mirrored with probability 1/2.
    """
    generator = torch.Generator().manual_seed(seed)
    for chosen in random_order(len(examples), size, steps, generator):
        images = shifted(examples.images[chosen], shift, generator, background=0, flip=flip)
        yield _normalised(images, mean, std), examples.labels[chosen]


def normalised(examples: Examples, mean: Tensor, std: Tensor) -> Tensor:
    """The images as float32, each channel with mean 0 and standard deviation 1 over the training images."""
    return _normalised(examples.images, mean, std)


def _normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    mean, std = (each.to(torch.float32).view(1, -1, 1, 1) for each in (mean, std))
    return images.to(torch.float32).div_(255).sub_(mean).div_(std)


def _digits(training: int | None) -> ImageData:
    """The digits in the fixed order and with the cuts of the demo."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingExtraError("the digits need scikit-learn: install net2net[demo].") from error
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))[order, None]
    labels = torch.from_numpy(bunch.target.astype(np.int64))[order]
    cuts = [Examples(images[start:stop], labels[start:stop]) for start, stop in ((0, 1000), (1000, 1300), (1300, None))]
    return _data(DIGITS, cuts[0], cuts[1], cuts[2], 10, training)


def _split(found: ImageSet, training: int | None) -> ImageData:
    """The set with a part of its training images held out to choose on."""
    count = len(found.training.images)
    held = min(count // 10, MOST_CHOICE)
    if not held:
        raise OptionError(f"{found.training.source}: {count} images; at least 10 are needed to hold some out.")
    classes = found.classes or 1 + max(_highest(found.training), 1)
    if found.classes is None and classes > count:
        raise OptionError(f"{found.training.source}: a class of {classes - 1} is out of range for {count:,} images.")
    examples, test = (_examples(part, classes) for part in (found.training, found.test))
    if examples.images.shape[1:] != test.images.shape[1:]:
        sizes = " and ".join(str(tuple(each.images.shape[1:])) for each in (examples, test))
        raise OptionError(f"{found.test.source}: training and test images are of different sizes: {sizes}.")
    order = _in_proportion(examples.labels)
    kept, choice = (_chosen(examples, part) for part in (order[held:], order[:held]))
    return _data(found.name, kept, choice, _chosen(test, _in_proportion(test.labels)), classes, training)


def _data(
    name: str, kept: Examples, choice: Examples, validation: Examples, classes: int, training: int | None
) -> ImageData:
    if training is not None:
        if not 1 <= training <= len(kept):
            raise OptionError(f"training={training}: {name} has 1 to {len(kept):,} images to learn from.")
        kept = Examples(kept.images[:training], kept.labels[:training])
    return ImageData(name, kept, choice, validation, classes, *_moments(kept.images))


def _highest(part: Part) -> int:
    return int(part.labels.max()) if part.labels.size and part.labels.dtype.kind in "iu" else 0


def _examples(part: Part, classes: int) -> Examples:
    """The part as tensors, checked."""
    labels = part.labels.reshape(-1) if part.labels.ndim == 2 and part.labels.shape[1] == 1 else part.labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise OptionError(f"{part.source}: classes are {labels.dtype} of shape {labels.shape}, not one integer each.")
    if len(labels) != len(part.images) or not part.images.size:
        raise OptionError(f"{part.source}: {len(part.images):,} images and {len(labels):,} classes.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise OptionError(f"{part.source}: classes run from {low} to {high}; they should from 0 to {classes - 1}.")
    # A copy: arrays read from files are read-only views, which torch can't share.
    return Examples(torch.from_numpy(part.images.copy()), torch.from_numpy(labels.astype(np.int64)))


def _chosen(examples: Examples, order: Tensor) -> Examples:
    return Examples(examples.images[order], examples.labels[order])


def _in_proportion(labels: Tensor) -> Tensor:
    """A random order, always the same, of which every first part holds each class in proportion."""
    shuffled = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    kinds = labels[shuffled]
    counts = torch.bincount(kinds)
    by_class = torch.argsort(kinds, stable=True)
    rank = torch.empty_like(kinds)
    rank[by_class] = torch.arange(len(kinds)) - (counts.cumsum(0) - counts)[kinds[by_class]]
    return shuffled[torch.argsort((rank + 0.5) / counts[kinds], stable=True)]


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, of pixels between 0 and 1."""
    total = squares = torch.zeros(images.shape[1], dtype=torch.int64)
    for part in torch.split(images, 1000):
        wide = part.to(torch.int64)
        total = total + wide.sum((0, 2, 3))
        squares = squares + wide.square().sum((0, 2, 3))
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    variance = (squares.double() / count - mean.square()).clamp(min=1.0)  # a channel that is all the same
    return (mean / 255).float(), (variance.sqrt() / 255).float()
