"""The network: convolutions with BatchNorm, a residual block, an Inception block, a linear classifier."""

from __future__ import annotations

import torch
from torch import nn


class ConvNormReLU(nn.Module):
    """A convolution that keeps the image's size, BatchNorm and, unless `last`, a ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, *, last: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.Identity() if last else nn.ReLU()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.act(self.norm(self.conv(images)))
        return result


class Residual(nn.Module):
    """Two convolutions around a skip connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvNormReLU(channels, channels)
        self.leave = ConvNormReLU(channels, channels, last=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.relu(images + self.leave(self.enter(images)))


class Inception(nn.Module):
    """Three branches of different depth on the same input, side by side in the output."""

    def __init__(self, channels: int, point: int, reduce: int, wide: int, pool: int) -> None:
        super().__init__()
        self.point = ConvNormReLU(channels, point, 1)
        self.reduce = ConvNormReLU(channels, reduce, 1)
        self.wide = ConvNormReLU(reduce, wide)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        self.project = ConvNormReLU(channels, pool, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.point(images), self.wide(self.reduce(images)), self.project(self.pool(images))], dim=1)


class DigitsNet(nn.Module):
    """A small classifier of 8 x 8 digits. `width` is the number of channels that all the others follow."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = ConvNormReLU(1, width)
        self.residual = Residual(width)
        self.downsample = nn.MaxPool2d(2)
        self.inception = Inception(width, width, width, 2 * width, width)
        self.classify = nn.Linear(4 * width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.inception(self.downsample(self.residual(self.stem(images))))
        logits: torch.Tensor = self.classify(features.mean(dim=(2, 3)))
        return logits
