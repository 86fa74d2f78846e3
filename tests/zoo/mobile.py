"""Networks built on depthwise convolution: inverted residuals, channel shuffle, and ConvNeXt."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zoo.plain import entry, floats


class ConvNormActivation(nn.Sequential):
    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        activation: Callable[..., nn.Module] | None = nn.ReLU6,
    ) -> None:
        padding = (kernel_size - 1) // 2
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel_size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if activation is not None:
            layers.append(activation(inplace=True))
        super().__init__(*layers)


class SqueezeExcitation(nn.Module):
    def __init__(
        self,
        channels: int,
        squeeze: int,
        activation: Callable[[], nn.Module],
        scale_activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeeze, 1)
        self.fc2 = nn.Conv2d(squeeze, channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x: Tensor) -> Tensor:
        scale = self.activation(self.fc1(self.avgpool(x)))
        return self.scale_activation(self.fc2(scale)) * x


class StochasticDepth(nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        keep = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1.0 - self.p)
        return x * keep.div_(1.0 - self.p)


class InvertedResidual(nn.Module):
    """Widen by a 1x1 convolution, filter each channel, optionally squeeze and excite, and narrow again."""

    def __init__(
        self,
        inputs: int,
        expanded: int,
        outputs: int,
        kernel: int,
        stride: int,
        activation: Callable[..., nn.Module],
        se: nn.Module | None = None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        self.use_res_connect = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(ConvNormActivation(inputs, expanded, 1, activation=activation))
        layers.append(ConvNormActivation(expanded, expanded, kernel, stride, expanded, activation))
        if se is not None:
            layers.append(se)
        layers.append(ConvNormActivation(expanded, outputs, 1, activation=None))
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        result = self.block(x)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += x
        return result


class MobileNetV2(nn.Module):
    """A setting is (expand ratio, outputs, repeats, stride)."""

    def __init__(
        self,
        stem: int = 8,
        settings: tuple[tuple[int, int, int, int], ...] = ((1, 6, 1, 1), (3, 10, 2, 2), (2, 14, 2, 2)),
        last_channel: int = 23,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvNormActivation(3, stem, stride=2)]
        channels = stem
        for ratio, outputs, repeats, first_stride in settings:
            for stride in [first_stride] + [1] * (repeats - 1):
                features.append(InvertedResidual(channels, channels * ratio, outputs, 3, stride, nn.ReLU6))
                channels = outputs
        features.append(ConvNormActivation(channels, last_channel, kernel_size=1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(p=0.2), nn.Linear(last_channel, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = F.adaptive_avg_pool2d(x, (1, 1))
        return self.classifier(torch.flatten(x, 1))


class MobileNetV3(nn.Module):
    """A setting is (kernel, expanded, outputs, squeeze, hardswish or not, stride); no squeeze means no SE."""

    def __init__(
        self,
        stem: int = 8,
        settings: tuple[tuple[int, int, int, int, bool, int], ...] = (
            (3, 8, 8, 4, False, 1),
            (3, 18, 10, 0, False, 2),
            (5, 22, 13, 6, True, 2),
            (5, 27, 13, 7, True, 1),
        ),
        last_conv: int = 24,
        last_channel: int = 20,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvNormActivation(3, stem, stride=2, activation=nn.Hardswish)]
        channels = stem
        for kernel, expanded, outputs, squeeze, use_hs, stride in settings:
            se = SqueezeExcitation(expanded, squeeze, nn.ReLU, nn.Hardsigmoid) if squeeze else None
            activation = nn.Hardswish if use_hs else nn.ReLU
            features.append(InvertedResidual(channels, expanded, outputs, kernel, stride, activation, se))
            channels = outputs
        features.append(ConvNormActivation(channels, last_conv, 1, activation=nn.Hardswish))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last_conv, last_channel),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=0.2, inplace=True),
            nn.Linear(last_channel, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class EfficientNet(nn.Module):
    """A setting is (expand ratio, kernel, stride, outputs, repeats)."""

    def __init__(
        self,
        stem: int = 8,
        settings: tuple[tuple[int, ...], ...] = ((1, 3, 1, 6, 1), (3, 3, 2, 10, 2), (2, 5, 2, 14, 2)),
        last_channel: int = 23,
        num_classes: int = 7,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        features: list[nn.Module] = [ConvNormActivation(3, stem, stride=2, activation=nn.SiLU)]
        channels = stem
        for ratio, kernel, first_stride, outputs, repeats in settings:
            for stride in [first_stride] + [1] * (repeats - 1):
                expanded = channels * ratio
                # As in the paper's code, the squeezed size follows from the block's input, not its inside.
                se = SqueezeExcitation(expanded, channels // 2, nn.SiLU, nn.Sigmoid)
                features.append(InvertedResidual(channels, expanded, outputs, kernel, stride, nn.SiLU, se, drop))
                channels = outputs
        features.append(ConvNormActivation(channels, last_channel, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=drop, inplace=True), nn.Linear(last_channel, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batchsize, num_channels, height, width = x.size()
    x = x.view(batchsize, groups, num_channels // groups, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    return x.view(batchsize, num_channels, height, width)


class ShuffleBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        branch = outputs // 2
        if stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
                nn.BatchNorm2d(inputs),
                nn.Conv2d(inputs, branch, 1, bias=False),
                nn.BatchNorm2d(branch),
                nn.ReLU(inplace=True),
            )
        self.branch2 = nn.Sequential(
            nn.Conv2d(inputs if stride > 1 else branch, branch, 1, bias=False),
            nn.BatchNorm2d(branch),
            nn.ReLU(inplace=True),
            nn.Conv2d(branch, branch, 3, stride, 1, groups=branch, bias=False),
            nn.BatchNorm2d(branch),
            nn.Conv2d(branch, branch, 1, bias=False),
            nn.BatchNorm2d(branch),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    def __init__(
        self,
        stem: int = 8,
        repeats: tuple[int, ...] = (3, 2),
        widths: tuple[int, ...] = (14, 20),
        last: int = 23,
        num_classes: int = 7,
    ) -> None:
        super().__init__()
        self.conv1 = ConvNormActivation(3, stem, stride=2, activation=nn.ReLU)
        channels, stages = stem, []
        for count, width in zip(repeats, widths, strict=True):
            blocks = [ShuffleBlock(channels, width, 2)] + [ShuffleBlock(width, width, 1) for _ in range(count - 1)]
            stages.append(nn.Sequential(*blocks))
            channels = width
        self.stages = nn.Sequential(*stages)
        self.conv5 = ConvNormActivation(channels, last, 1, activation=nn.ReLU)
        self.fc = nn.Linear(last, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv5(self.stages(self.conv1(x)))
        return self.fc(x.mean([2, 3]))


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim: int, hidden: int, drop: float, layer_scale_init_value: float = 1e-6) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(hidden, dim)
        self.gamma = nn.Parameter(layer_scale_init_value * torch.ones(dim))
        self.drop_path = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.pwconv2(self.act(self.pwconv1(self.norm(x))))
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        return shortcut + self.drop_path(x)


class ConvNeXt(nn.Module):
    def __init__(
        self,
        depths: tuple[int, ...] = (1, 2),
        dims: tuple[int, ...] = (10, 17),
        hidden: tuple[int, ...] = (25, 38),
        num_classes: int = 7,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(3, dims[0], kernel_size=4, stride=4), LayerNorm2d(dims[0], eps=1e-6))]
        )
        for before, after in pairwise(dims):
            self.downsample_layers.append(
                nn.Sequential(LayerNorm2d(before, eps=1e-6), nn.Conv2d(before, after, kernel_size=2, stride=2))
            )
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(dim, inner, drop) for _ in range(depth)))
            for depth, dim, inner in zip(depths, dims, hidden, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        for downsample, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(downsample(x))
        return self.head(self.norm(x.mean([-2, -1])))


MODELS = [
    entry("mobilenet_v2", MobileNetV2, lambda: floats(2, 3, 32, 32)),
    entry("mobilenet_v3", MobileNetV3, lambda: floats(2, 3, 32, 32)),
    entry("efficientnet", EfficientNet, lambda: floats(2, 3, 32, 32)),
    entry("shufflenet_v2", ShuffleNetV2, lambda: floats(2, 3, 32, 32)),
    entry("convnext", ConvNeXt, lambda: floats(2, 3, 32, 32)),
]
