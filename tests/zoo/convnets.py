"""Convolutional networks without residual sums: plain chains, branches, and skips that concatenate."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.plain import entry, floats


class LeNet(nn.Module):
    def __init__(
        self,
        channels: tuple[int, int] = (6, 10),
        hidden: tuple[int, int] = (21, 15),
        in_channels: int = 1,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels[0], 5)
        self.conv2 = nn.Conv2d(channels[0], channels[1], 5)
        self.fc1 = nn.Linear(channels[1] * 2 * 2, hidden[0])
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(x.size(0), -1)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)


class VGG(nn.Module):
    def __init__(
        self,
        config: tuple[int | str, ...] = (8, "M", 12, 14, "M", 18, "M"),
        hidden: tuple[int, int] = (22, 16),
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for item in config:
            if isinstance(item, str):
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                conv = nn.Conv2d(channels, item, kernel_size=3, padding=1)
                layers += [conv, nn.BatchNorm2d(item), nn.ReLU(inplace=True)]
                channels = item
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(channels * 2 * 2, hidden[0]),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden[0], hidden[1]),
            nn.ReLU(True),
            nn.Dropout(),
            nn.Linear(hidden[1], num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class Fire(nn.Module):
    def __init__(self, inplanes: int, squeeze_planes: int, expand1x1_planes: int, expand3x3_planes: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inplanes, squeeze_planes, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze_planes, expand1x1_planes, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze_planes, expand3x3_planes, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_activation(self.squeeze(x))
        return torch.cat(
            [self.expand1x1_activation(self.expand1x1(x)), self.expand3x3_activation(self.expand3x3(x))], 1
        )


class SqueezeNet(nn.Module):
    def __init__(
        self,
        stem: int = 12,
        fires: tuple[tuple[int, int, int], ...] = ((6, 9, 10), (7, 11, 13)),
        num_classes: int = 5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, stem, kernel_size=3, stride=2), nn.ReLU(inplace=True)]
        channels = stem
        for squeeze, expand1x1, expand3x3 in fires:
            layers += [nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)]
            layers += [Fire(channels, squeeze, expand1x1, expand3x3)]
            channels = expand1x1 + expand3x3
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Conv2d(channels, num_classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.flatten(self.classifier(self.features(x)), 1)


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth_rate: int, bn_size: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(channels)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(channels, bn_size * growth_rate, kernel_size=1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, kernel_size=3, padding=1, bias=False)

    def forward(self, features: list[Tensor]) -> Tensor:
        x = self.conv1(self.relu1(self.norm1(torch.cat(features, 1))))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers: int, channels: int, growth_rate: int, bn_size: int) -> None:
        super().__init__()
        for i in range(num_layers):
            self[f"denselayer{i + 1}"] = DenseLayer(channels + i * growth_rate, growth_rate, bn_size)

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.values():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    def __init__(
        self,
        growth_rate: int = 5,
        block_config: tuple[int, ...] = (2, 2),
        num_init_features: int = 12,
        bn_size: int = 3,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, num_init_features, kernel_size=3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(num_init_features),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(kernel_size=3, stride=2, padding=1),
        )
        channels = num_init_features
        for i, num_layers in enumerate(block_config):
            self.features.add_module(f"denseblock{i + 1}", DenseBlock(num_layers, channels, growth_rate, bn_size))
            channels += num_layers * growth_rate
            if i + 1 < len(block_config):
                transition = nn.Sequential(
                    nn.BatchNorm2d(channels),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(channels, channels // 2, kernel_size=1, bias=False),
                    nn.AvgPool2d(kernel_size=2, stride=2),
                )
                self.features.add_module(f"transition{i + 1}", transition)
                channels = channels // 2
        self.features.add_module("norm5", nn.BatchNorm2d(channels))
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.features(x), inplace=True)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class DoubleConv(nn.Sequential):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class Up(nn.Module):
    def __init__(self, in_channels: int, skip_channels: int, out_channels: int, bilinear: bool) -> None:
        super().__init__()
        self.bilinear = bilinear
        if not bilinear:
            self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
            in_channels = in_channels // 2
        self.conv = DoubleConv(skip_channels + in_channels, out_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        size = skip.shape[-2:]
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=True) if self.bilinear else self.up(x)
        return self.conv(torch.cat([skip, x], dim=1))


class UNet(nn.Module):
    def __init__(self, widths: tuple[int, ...] = (6, 10, 16), bilinear: bool = False, num_classes: int = 4) -> None:
        super().__init__()
        self.inc = DoubleConv(3, widths[0])
        self.downs = nn.ModuleList(DoubleConv(a, b) for a, b in pairwise(widths))
        self.ups = nn.ModuleList(
            Up(deep, shallow, shallow, bilinear) for shallow, deep in reversed(list(pairwise(widths)))
        )
        self.outc = nn.Conv2d(widths[0], num_classes, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        skips = [self.inc(x)]
        for down in self.downs:
            skips.append(down(F.max_pool2d(skips[-1], 2)))
        x = skips.pop()
        for up in self.ups:
            x = up(x, skips.pop())
        return self.outc(x)


class BasicConv2d(nn.Module):
    def __init__(
        self, inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, same: bool = True
    ) -> None:
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (rows // 2, columns // 2) if same else 0
        self.conv = nn.Conv2d(inputs, outputs, (rows, columns), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Branches(nn.ModuleList):
    """Branches side by side; each reads the same input, and their channels are concatenated."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self], 1)


class Inception(Branches):
    def __init__(
        self, inputs: int, ch1x1: int, ch3x3red: int, ch3x3: int, ch5x5red: int, ch5x5: int, pool_proj: int
    ) -> None:
        pool = nn.MaxPool2d(kernel_size=3, stride=1, padding=1, ceil_mode=True)
        super().__init__(
            [
                BasicConv2d(inputs, ch1x1, 1),
                nn.Sequential(BasicConv2d(inputs, ch3x3red, 1), BasicConv2d(ch3x3red, ch3x3, 3)),
                nn.Sequential(BasicConv2d(inputs, ch5x5red, 1), BasicConv2d(ch5x5red, ch5x5, 5)),
                nn.Sequential(pool, BasicConv2d(inputs, pool_proj, 1)),
            ]
        )
        self.out_channels = ch1x1 + ch3x3 + ch5x5 + pool_proj


class GoogLeNet(nn.Module):
    def __init__(
        self,
        stem: tuple[int, int, int] = (8, 9, 12),
        inceptions: tuple[tuple[int, ...], ...] = ((6, 5, 10, 3, 7, 4), (8, 7, 11, 4, 6, 5)),
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.conv1 = BasicConv2d(3, stem[0], 7, stride=2)
        self.maxpool1 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.conv2 = BasicConv2d(stem[0], stem[1], 1)
        self.conv3 = BasicConv2d(stem[1], stem[2], 3)
        self.inception3a = Inception(stem[2], *inceptions[0])
        self.maxpool3 = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.inception4a = Inception(self.inception3a.out_channels, *inceptions[1])
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(self.inception4a.out_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool1(self.conv1(x))
        x = self.conv3(self.conv2(x))
        x = self.maxpool3(self.inception3a(x))
        x = self.avgpool(self.inception4a(x))
        return self.fc(self.dropout(torch.flatten(x, 1)))


class InceptionA(Branches):
    def __init__(self, inputs: int, u: int) -> None:
        pool = nn.AvgPool2d(kernel_size=3, stride=1, padding=1)
        branch5x5 = [BasicConv2d(inputs, 3 * u, 1), BasicConv2d(3 * u, 4 * u, 5)]
        branch3x3dbl = [
            BasicConv2d(inputs, 4 * u, 1),
            BasicConv2d(4 * u, 6 * u, 3),
            BasicConv2d(6 * u, 6 * u, 3),
        ]
        super().__init__(
            [
                BasicConv2d(inputs, 4 * u, 1),
                nn.Sequential(*branch5x5),
                nn.Sequential(*branch3x3dbl),
                nn.Sequential(pool, BasicConv2d(inputs, 2 * u, 1)),
            ]
        )
        self.out_channels = 16 * u


class InceptionB(Branches):
    """Grid reduction: the pool branch passes its channels on as they are."""

    def __init__(self, inputs: int, u: int) -> None:
        branch3x3dbl = [
            BasicConv2d(inputs, 4 * u, 1),
            BasicConv2d(4 * u, 6 * u, 3),
            BasicConv2d(6 * u, 6 * u, 3, stride=2, same=False),
        ]
        super().__init__(
            [
                BasicConv2d(inputs, 24 * u, 3, stride=2, same=False),
                nn.Sequential(*branch3x3dbl),
                nn.MaxPool2d(kernel_size=3, stride=2),
            ]
        )
        self.out_channels = 30 * u + inputs


class InceptionC(Branches):
    """Factorised 7x7 convolutions."""

    def __init__(self, inputs: int, u: int, c7: int) -> None:
        wide, tall = (1, 7), (7, 1)
        branch7x7 = [
            BasicConv2d(inputs, c7, 1),
            BasicConv2d(c7, c7, wide),
            BasicConv2d(c7, 12 * u, tall),
        ]
        branch7x7dbl = [
            BasicConv2d(inputs, c7, 1),
            BasicConv2d(c7, c7, tall),
            BasicConv2d(c7, c7, wide),
            BasicConv2d(c7, c7, tall),
            BasicConv2d(c7, 12 * u, wide),
        ]
        pool = nn.AvgPool2d(kernel_size=3, stride=1, padding=1)
        super().__init__(
            [
                BasicConv2d(inputs, 12 * u, 1),
                nn.Sequential(*branch7x7),
                nn.Sequential(*branch7x7dbl),
                nn.Sequential(pool, BasicConv2d(inputs, 12 * u, 1)),
            ]
        )
        self.out_channels = 48 * u


class InceptionD(Branches):
    """Grid reduction after factorised convolutions."""

    def __init__(self, inputs: int, u: int) -> None:
        branch3x3 = [BasicConv2d(inputs, 12 * u, 1), BasicConv2d(12 * u, 20 * u, 3, stride=2, same=False)]
        branch7x7x3 = [
            BasicConv2d(inputs, 12 * u, 1),
            BasicConv2d(12 * u, 12 * u, (1, 7)),
            BasicConv2d(12 * u, 12 * u, (7, 1)),
            BasicConv2d(12 * u, 12 * u, 3, stride=2, same=False),
        ]
        pool = nn.MaxPool2d(kernel_size=3, stride=2)
        super().__init__([nn.Sequential(*branch3x3), nn.Sequential(*branch7x7x3), pool])
        self.out_channels = 32 * u + inputs


class InceptionE(Branches):
    """Branches that fork once more into a 1x3 and a 3x1 convolution: a concatenation of concatenations."""

    def __init__(self, inputs: int, u: int) -> None:
        def fork() -> Branches:
            return Branches(BasicConv2d(24 * u, 24 * u, kernel) for kernel in ((1, 3), (3, 1)))

        branch3x3dbl = [BasicConv2d(inputs, 28 * u, 1), BasicConv2d(28 * u, 24 * u, 3), fork()]
        pool = nn.AvgPool2d(kernel_size=3, stride=1, padding=1)
        super().__init__(
            [
                BasicConv2d(inputs, 20 * u, 1),
                nn.Sequential(BasicConv2d(inputs, 24 * u, 1), fork()),
                nn.Sequential(*branch3x3dbl),
                nn.Sequential(pool, BasicConv2d(inputs, 12 * u, 1)),
            ]
        )
        self.out_channels = 128 * u


class Inception3(nn.Module):
    """Inception-v3 with one block of each kind; `unit` stands for the 16 that divides all of its widths."""

    def __init__(self, unit: int = 2, channels_7x7: int = 17, num_classes: int = 7) -> None:
        super().__init__()
        u = unit
        self.Conv2d_1a_3x3 = BasicConv2d(3, 2 * u, 3, stride=2, same=False)
        self.Conv2d_2a_3x3 = BasicConv2d(2 * u, 2 * u, 3, same=False)
        self.Conv2d_2b_3x3 = BasicConv2d(2 * u, 4 * u, 3)
        self.Conv2d_3b_1x1 = BasicConv2d(4 * u, 5 * u, 1)
        self.Conv2d_4a_3x3 = BasicConv2d(5 * u, 12 * u, 3, same=False)
        self.Mixed_5b = InceptionA(12 * u, u)
        self.Mixed_6a = InceptionB(self.Mixed_5b.out_channels, u)
        self.Mixed_6b = InceptionC(self.Mixed_6a.out_channels, u, channels_7x7)
        self.Mixed_7a = InceptionD(self.Mixed_6b.out_channels, u)
        self.Mixed_7b = InceptionE(self.Mixed_7a.out_channels, u)
        self.dropout = nn.Dropout()
        self.fc = nn.Linear(self.Mixed_7b.out_channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, kernel_size=3, stride=2)
        x = self.Mixed_6b(self.Mixed_6a(self.Mixed_5b(x)))
        x = self.Mixed_7b(self.Mixed_7a(x))
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.fc(torch.flatten(self.dropout(x), 1))


MODELS = [
    entry("lenet", LeNet, lambda: floats(2, 1, 20, 20)),
    entry("vgg_bn", VGG, lambda: floats(2, 3, 32, 32)),
    entry("squeezenet", SqueezeNet, lambda: floats(2, 3, 32, 32)),
    entry("densenet", DenseNet, lambda: floats(2, 3, 32, 32)),
    entry("googlenet", GoogLeNet, lambda: floats(2, 3, 32, 32)),
    # The smallest input whose last grid is 2x2: a 1x1 grid would leave batch norm one value per example.
    entry("inception_v3", Inception3, lambda: floats(2, 3, 107, 107)),
    entry("unet_transposed", UNet, lambda: floats(2, 3, 16, 16)),
    entry("unet_bilinear", lambda: UNet(bilinear=True), lambda: floats(2, 3, 16, 16)),
]
