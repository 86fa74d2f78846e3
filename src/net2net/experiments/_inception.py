"""An Inception network with BatchNorm in the paper's style: branches of vertical and horizontal pairs, side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class InceptionShape:
    """How large an Inception network is.

    Attributes:
        stem: channels of the convolutions before the first module; widening the modules leaves them as they are.
        width: channels of the branches of a module at factor 1: (1 x 1, reduction, pair, pool projection).
        factor: by which all widths inside the modules are multiplied (the paper's sqrt(0.3), 1 and sqrt(2)).
        stages: modules at each resolution; a max pooling halves it between them.
        strides: of the convolutions of the stem.
        pairs: how many follow each other at the three places of a module where the paper has one: that of the first
            branch of pairs, and the two of the second.
        kernel: length of the vertical and the horizontal convolutions.
    """

    stem: tuple[int, ...]
    width: tuple[int, int, int, int]
    stages: tuple[int, ...]
    strides: tuple[int, ...] = (2,)
    factor: float = 1.0
    pairs: tuple[int, int, int] = (1, 1, 1)
    kernel: int = 3


class ConvNormReLU(nn.Sequential):
    """A convolution that keeps the image's size, BatchNorm and a ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], stride: int = 1) -> None:
        padding = (kernel[0] // 2, kernel[1] // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
        )


def pair(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """A vertical and then a horizontal convolution, each a whole layer."""
    return [*ConvNormReLU(inputs, outputs, (kernel, 1)), *ConvNormReLU(outputs, outputs, (1, kernel))]


class Module(nn.Module):
    """Four branches on the same input: 1 x 1; one pair; two pairs; pooling."""

    def __init__(self, inputs: int, shape: InceptionShape) -> None:
        super().__init__()
        point, reduction, wide, pool = (round(shape.factor * w) for w in shape.width)

        def pairs(count: int) -> list[nn.Module]:
            layers = list(ConvNormReLU(inputs, reduction, (1, 1)))
            for i in range(count):
                layers += pair(wide if i else reduction, wide, shape.kernel)
            return layers

        self.point = ConvNormReLU(inputs, point, (1, 1))
        self.one_pair = nn.Sequential(*pairs(shape.pairs[0]))
        self.two_pairs = nn.Sequential(*pairs(shape.pairs[1] + shape.pairs[2]))
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.project = ConvNormReLU(inputs, pool, (1, 1))
        self.outputs = point + 2 * wide + pool

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        branches = (self.point(images), self.one_pair(images), self.two_pairs(images), self.project(self.pool(images)))
        return torch.cat(branches, dim=1)


class Inception(nn.Module):
    """The network: a stem, stages of modules with max pooling between them, global pooling, a linear classifier.

    Args:
        shape: how large it is.
        channels: of the images.
        classes: that it tells apart.

    Example:
        >>> net = Inception(InceptionShape((8,), (6, 4, 6, 4), (1, 1)), channels=1, classes=10)
        >>> net(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """

    def __init__(self, shape: InceptionShape, channels: int, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential()
        for outputs, stride in zip(shape.stem, shape.strides, strict=True):
            self.stem.extend(ConvNormReLU(channels, outputs, (3, 3), stride))
            channels = outputs
        stages: list[nn.Module] = []
        for i, count in enumerate(shape.stages):
            stages += [nn.MaxPool2d(3, stride=2, padding=1)] if i else []
            for _ in range(count):
                module = Module(channels, shape)
                stages.append(module)
                channels = module.outputs
        self.stages = nn.Sequential(*stages)
        self.classify = nn.Linear(channels, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.stages(self.stem(images))
        logits: torch.Tensor = self.classify(features.mean(dim=(2, 3)))
        return logits
