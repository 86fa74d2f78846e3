"""Batches of images: their order, shifts, flips and scale."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from net2net.experiments import Examples, ImageData, from_datasets, load_images
from net2net.experiments._images import batches, normalised


@pytest.fixture(scope="module")
def digits() -> ImageData:
    return load_images(None)


def drawn(data: ImageData, seed: int, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = list(batches(data.training, 100, 20, seed, mean=data.mean, std=data.std, **options))
    return torch.cat([images for images, _ in pairs]), torch.cat([labels for _, labels in pairs])


def test_every_image_comes_once_before_any_comes_again(digits: ImageData) -> None:
    images, labels = drawn(digits, 1, shift=0)
    plain = normalised(digits.training, digits.mean, digits.std)
    for epoch in (slice(0, 1000), slice(1000, 2000)):
        rows = [each.flatten(1).tolist() for each in (images[epoch], plain)]
        assert sorted(rows[0]) == sorted(rows[1])
        assert torch.equal(labels[epoch].bincount(), digits.training.labels.bincount())
    assert images.dtype == torch.float32 and not torch.equal(images[:1000], images[1000:])


def test_batches_are_fixed_by_the_seed(digits: ImageData) -> None:
    one, two, other = (drawn(digits, seed, flip=True)[0] for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_a_batch_may_be_larger_than_the_data() -> None:
    examples = Examples(torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), torch.arange(3))
    ((_, labels),) = batches(examples, 7, 1, 0, mean=torch.zeros(1), std=torch.ones(1))
    assert labels.tolist().count(0) in (2, 3) and len(labels) == 7


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_shifts_and_flips(channels: int, flip: bool) -> None:
    """Every batch image is one of the shifts (and mirrors) of its own image, over black; and all of them occur."""
    image = torch.arange(1, channels * 20 + 1, dtype=torch.uint8).view(1, channels, 4, 5)
    examples = Examples(image, torch.zeros(1, dtype=torch.int64))
    mean, std = torch.full((channels,), 0.25), torch.full((channels,), 0.5)
    ((images, _),) = batches(examples, 2000, 1, 3, mean=mean, std=std, shift=1, flip=flip)
    wanted = set()
    for mirrored in (image, image.flip(3)) if flip else (image,):
        padded = torch.zeros(channels, 6, 7)
        padded[:, 1:-1, 1:-1] = mirrored[0]
        wanted |= {tuple(padded[:, y : y + 4, x : x + 5].flatten().tolist()) for y in range(3) for x in range(3)}
    seen = ((images * 0.5 + 0.25) * 255).round().flatten(1).tolist()
    assert set(map(tuple, seen)) == wanted and len(wanted) == (18 if flip else 9)
    assert max(map(seen.count, map(list, wanted))) < 2 * 2000 / len(wanted)


def test_normalised(digits: ImageData) -> None:
    images = normalised(digits.training, digits.mean, digits.std).double()
    assert abs(float(images.mean())) < 1e-5 and abs(float(images.std(correction=0)) - 1) < 1e-5
    # Nothing but one value: divided by no zero.
    flat = [(torch.zeros(6, 6, dtype=torch.uint8), index % 2) for index in range(10)]
    data = from_datasets(flat, flat, name="flat")
    assert normalised(data.training, data.mean, data.std).abs().max() == 0
