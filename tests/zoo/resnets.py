"""Residual networks: basic, bottleneck, grouped and pre-activation blocks, group norm, padded shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.plain import entry, floats

Norm = Callable[[int], nn.Module]


def conv3x3(in_planes: int, out_planes: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_planes, out_planes, 3, stride=stride, padding=1, groups=groups, bias=False)


def conv1x1(in_planes: int, out_planes: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_planes, out_planes, 1, stride=stride, bias=False)


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int,
        downsample: nn.Module | None,
        norm_layer: Norm,
        groups: int = 1,
        base_width: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inplanes, planes, stride)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(
        self,
        inplanes: int,
        planes: int,
        stride: int,
        downsample: nn.Module | None,
        norm_layer: Norm,
        groups: int = 1,
        base_width: int = 64,
    ) -> None:
        super().__init__()
        width = int(planes * (base_width / 64.0)) * groups
        self.conv1 = conv1x1(inplanes, width)
        self.bn1 = norm_layer(width)
        self.conv2 = conv3x3(width, width, stride, groups)
        self.bn2 = norm_layer(width)
        self.conv3 = conv1x1(width, planes * self.expansion)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNet(nn.Module):
    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        layers: tuple[int, ...] = (2, 2),
        planes: tuple[int, ...] = (8, 14),
        stem: int = 10,
        num_classes: int = 7,
        groups: int = 1,
        width_per_group: int = 64,
        norm_layer: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.inplanes = stem
        self.groups = groups
        self.base_width = width_per_group
        self.norm_layer = norm_layer
        self.conv1 = nn.Conv2d(3, stem, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = norm_layer(stem)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layers = nn.Sequential(
            *(
                self._make_layer(block, width, blocks, stride=1 if i == 0 else 2)
                for i, (width, blocks) in enumerate(zip(planes, layers, strict=True))
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(self.inplanes, num_classes)

    def _make_layer(
        self, block: type[BasicBlock] | type[Bottleneck], planes: int, blocks: int, stride: int
    ) -> nn.Sequential:
        layers: list[nn.Module] = []
        for i in range(blocks):
            step = stride if i == 0 else 1
            downsample = None
            if step != 1 or self.inplanes != planes * block.expansion:
                downsample = nn.Sequential(
                    conv1x1(self.inplanes, planes * block.expansion, step),
                    self.norm_layer(planes * block.expansion),
                )
            layers.append(block(self.inplanes, planes, step, downsample, self.norm_layer, self.groups, self.base_width))
            self.inplanes = planes * block.expansion
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layers(self.maxpool(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class PreActBlock(nn.Module):
    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = conv3x3(in_planes, planes, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(conv1x1(in_planes, planes, stride))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class PreActResNet(nn.Module):
    def __init__(
        self, num_blocks: tuple[int, ...] = (2, 2), planes: tuple[int, ...] = (10, 15), num_classes: int = 7
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, planes[0])
        in_planes, stages = planes[0], []
        for i, (width, blocks) in enumerate(zip(planes, num_blocks, strict=True)):
            for j in range(blocks):
                stages.append(PreActBlock(in_planes, width, stride=2 if i > 0 and j == 0 else 1))
                in_planes = width
        self.layers = nn.Sequential(*stages)
        self.bn = nn.BatchNorm2d(in_planes)
        self.linear = nn.Linear(in_planes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn(self.layers(self.conv1(x))))
        out = F.avg_pool2d(out, 4)
        out = out.view(out.size(0), -1)
        return self.linear(out)


class CifarBlock(nn.Module):
    """A basic block whose shortcut has no weights: it drops pixels and pads channels ("option A")."""

    def __init__(self, in_planes: int, planes: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_planes, planes, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = nn.BatchNorm2d(planes)
        self.stride = stride
        self.pad = (planes - in_planes) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad), "constant", 0)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class CifarResNet(nn.Module):
    def __init__(
        self,
        num_blocks: tuple[int, ...] = (3, 3, 3),
        planes: tuple[int, ...] = (6, 12, 20),
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(3, planes[0])
        self.bn1 = nn.BatchNorm2d(planes[0])
        in_planes, stages = planes[0], []
        for i, (width, blocks) in enumerate(zip(planes, num_blocks, strict=True)):
            stage = []
            for j in range(blocks):
                stage.append(CifarBlock(in_planes, width, stride=2 if i > 0 and j == 0 else 1))
                in_planes = width
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(in_planes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer3(self.layer2(self.layer1(out)))
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        return self.linear(out)


MODELS = [
    entry("resnet_basic", lambda: ResNet(BasicBlock), lambda: floats(2, 3, 32, 32)),
    entry("resnet_bottleneck", lambda: ResNet(Bottleneck, planes=(8, 13)), lambda: floats(2, 3, 32, 32)),
    entry("resnet_preact", PreActResNet, lambda: floats(2, 3, 8, 8)),
    # 8 and 14 planes at 40/64 of a width of 3 groups: 5 and 8 channels per group.
    entry(
        "resnext",
        lambda: ResNet(Bottleneck, groups=3, width_per_group=40),
        lambda: floats(2, 3, 32, 32),
    ),
    entry(
        "resnet_groupnorm",
        lambda: ResNet(BasicBlock, planes=(8, 20), stem=12, norm_layer=partial(nn.GroupNorm, 4)),
        lambda: floats(2, 3, 32, 32),
    ),
    entry("resnet20_cifar", CifarResNet, lambda: floats(2, 3, 16, 16)),
]
