"""Batches in random order, and the small shifts and flips that make more of a few images."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import pad


def random_order(count: int, size: int, steps: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The indices of one batch after the other: every example once, in random order, before any comes again."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        while len(order) < size:
            order = torch.cat([order, torch.randperm(count, generator=generator)])
        yield order[:size]
        order = order[size:]


def shifted(images: Tensor, most: int, generator: torch.Generator, *, background: float, flip: bool = False) -> Tensor:
    """The images (n x channels x height x width), each moved by up to `most` pixels along both axes.

    What moves in is `background`. With `flip`, every second image on average is mirrored left to right as well.
    """
    count, channels, height, width = images.shape
    down, right = torch.randint(0, 2 * most + 1, (2, count), generator=generator)
    columns = torch.arange(width).expand(count, width)
    if flip:
        mirrored = torch.rand(count, generator=generator) < 0.5
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + columns)[:, None, None, :]
    padded = pad(images, (most, most, most, most), value=background)
    return padded[torch.arange(count)[:, None, None, None], torch.arange(channels)[None, :, None, None], rows, columns]
