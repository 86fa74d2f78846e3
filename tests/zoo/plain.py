"""Small networks, each with one thing that bigger ones are made of; and the helpers that make zoo entries."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from zoo.model import Inputs, ZooModel, awaken


def entry(name: str, make: Callable[[], nn.Module], inputs: Callable[[], Inputs]) -> ZooModel:
    """A zoo model whose weights come from a fixed seed, leaving the caller's random state alone."""

    def build() -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = make()
            enliven(model, inputs())
            return awaken(model)

    return ZooModel(name, build, inputs)


def enliven(model: nn.Module, inputs: Inputs) -> None:
    """Keep the signal at its size through the convolutions, and fit the norm statistics to it.

    Fresh weights would let it fade: a deep network would give nearly the same output for any input, and hide
    a mistake made in its early layers.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for module in model.modules():
        if isinstance(module, _ConvNd):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if norms:
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        with torch.no_grad():
            model.train()(inputs)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def floats(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape: int, vocab: int, seed: int = 1) -> Tensor:
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(seed))


class MLP(nn.Sequential):
    def __init__(self, inputs: int = 11, hidden: tuple[int, ...] = (17, 23), classes: int = 5) -> None:
        sizes = (inputs, *hidden)
        layers: list[nn.Module] = []
        for before, after in zip(sizes, hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(sizes[-1], classes))


class NormalizedMLP(nn.Module):
    def __init__(self, inputs: int = 11, hidden: int = 19, bottleneck: int = 13, classes: int = 5) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden, bias=False)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2 = nn.Linear(hidden, bottleneck)
        self.bn2 = nn.BatchNorm1d(bottleneck)
        self.head = nn.Linear(bottleneck, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.bn1(self.fc1(x)))
        x = F.gelu(self.bn2(self.fc2(x)), approximate="tanh")
        return self.head(x)


class ResidualMLP(nn.Module):
    class Block(nn.Module):
        def __init__(self, dim: int, hidden: int) -> None:
            super().__init__()
            self.norm = nn.LayerNorm(dim)
            self.up = nn.Linear(dim, hidden)
            self.down = nn.Linear(hidden, dim)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.down(F.relu(self.up(self.norm(x))))

    def __init__(self, inputs: int = 11, dim: int = 14, hidden: int = 27, depth: int = 3, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, dim)
        self.blocks = nn.ModuleList(self.Block(dim, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class DropoutMLP(nn.Module):
    def __init__(self, inputs: int = 11, hidden: tuple[int, int] = (21, 16), classes: int = 5) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, hidden[0])
        self.drop = nn.Dropout(0.3)
        self.fc2 = nn.Linear(hidden[0], hidden[1])
        self.fc3 = nn.Linear(hidden[1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(torch.tanh(self.fc1(x)))
        x = F.dropout(F.leaky_relu(self.fc2(x), 0.1), 0.2, self.training)
        return F.log_softmax(self.fc3(x), dim=-1)


class GatedMLP(nn.Module):
    """One gate by `chunk`, with the sigmoid written out, and one by `F.glu`."""

    def __init__(self, inputs: int = 11, hidden: int = 15, second: int = 9, classes: int = 5) -> None:
        super().__init__()
        self.fc1 = nn.Linear(inputs, 2 * hidden)
        self.fc2 = nn.Linear(hidden, 2 * second)
        self.fc3 = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.fc1(x).chunk(2, dim=-1)
        x = value * torch.sigmoid(gate)
        return self.fc3(F.glu(self.fc2(x), dim=-1))


class Conv1dNet(nn.Module):
    def __init__(self, inputs: int = 4, channels: tuple[int, int] = (9, 14), classes: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inputs, channels[0], 5, padding=2)
        self.bn1 = nn.BatchNorm1d(channels[0])
        self.conv2 = nn.Conv1d(channels[0], channels[1], 3, stride=2, dilation=2, bias=False)
        self.bn2 = nn.BatchNorm1d(channels[1])
        self.pool = nn.MaxPool1d(2)
        self.head = nn.Linear(channels[1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = F.elu(self.bn2(self.conv2(x)))
        return self.head(x.mean(dim=-1))


class Conv3dNet(nn.Sequential):
    def __init__(self, inputs: int = 2, channels: tuple[int, int] = (7, 10), classes: int = 5) -> None:
        super().__init__(
            nn.Conv3d(inputs, channels[0], 3, padding=1),
            nn.BatchNorm3d(channels[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(2),
            nn.Conv3d(channels[0], channels[1], (1, 3, 3)),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool3d(1),
            nn.Flatten(),
            nn.Linear(channels[1], classes),
        )


class TiedLinears(nn.Module):
    """Two linears with one weight, and a decoder that uses the encoder's weight transposed."""

    def __init__(self, inputs: int = 11, hidden: int = 18) -> None:
        super().__init__()
        self.encoder = nn.Linear(inputs, hidden)
        self.first = nn.Linear(hidden, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.second.weight = self.first.weight
        self.decoder_bias = nn.Parameter(torch.zeros(inputs))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.encoder(x))
        x = F.relu(self.second(F.relu(self.first(x))))
        return F.linear(x, self.encoder.weight.t(), self.decoder_bias)


class SharedModule(nn.Module):
    def __init__(self, inputs: int = 11, hidden: int = 16, inner: int = 20, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Linear(inputs, hidden)
        self.shared = nn.Sequential(nn.Linear(hidden, inner), nn.ReLU(), nn.Linear(inner, hidden))
        self.head = nn.Linear(hidden, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        x = F.relu(self.shared(x))
        x = F.relu(self.shared(x))
        return self.head(x)


class SeparableNet(nn.Module):
    def __init__(self, inputs: int = 3, channels: tuple[int, int] = (8, 13), classes: int = 5) -> None:
        super().__init__()
        first, second = channels
        self.stem = nn.Conv2d(inputs, first, 3, padding=1, bias=False)
        self.bn0 = nn.BatchNorm2d(first, affine=False)
        self.depthwise = nn.Conv2d(first, first, 3, stride=2, padding=1, groups=first, bias=False)
        self.bn1 = nn.BatchNorm2d(first, affine=False)
        self.pointwise = nn.Conv2d(first, second, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(second, affine=False)
        self.head = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn0(self.stem(x)))
        x = F.relu(self.bn1(self.depthwise(x)))
        x = F.relu(self.bn2(self.pointwise(x)))
        return self.head(x.mean((2, 3)))


class BranchesNet(nn.Module):
    """Two branches are concatenated, and two layers consume the concatenation."""

    def __init__(self, inputs: int = 3, left: int = 7, right: int = 10, after: int = 12) -> None:
        super().__init__()
        self.left = nn.Conv2d(inputs, left, 3, padding=1)
        self.right = nn.Conv2d(inputs, right, 5, padding=2)
        self.one = nn.Conv2d(left + right, after, 1)
        self.other = nn.Conv2d(left + right, after, 3, padding=1)
        self.regression = nn.Conv2d(after, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([F.relu(self.left(x)), F.relu(self.right(x))], dim=1)
        one, other = torch.sigmoid(self.one(x)), F.softplus(self.other(x))
        return self.regression(one * other), other.amax((2, 3))


class SqueezeExciteNet(nn.Module):
    def __init__(self, inputs: int = 3, channels: int = 12, squeeze: int = 5, classes: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.excite = nn.Sequential(
            nn.Linear(channels, squeeze, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(squeeze, channels, bias=False),
            nn.Sigmoid(),
        )
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn(self.conv(x)))
        b, c, _, _ = x.size()
        scale = self.excite(F.adaptive_avg_pool2d(x, 1).view(b, c)).view(b, c, 1, 1)
        return self.head((x * scale.expand_as(x)).flatten(2).mean(-1))


class PReLUNet(nn.Module):
    def __init__(
        self, inputs: int = 3, channels: tuple[int, int] = (8, 11), hidden: int = 17, classes: int = 5
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(inputs, channels[0], 3),
            nn.PReLU(channels[0]),
            nn.MaxPool2d(2),
            nn.Conv2d(channels[0], channels[1], 3),
            nn.PReLU(channels[1]),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(nn.Linear(channels[1] * 4, hidden), nn.PReLU(), nn.Linear(hidden, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(torch.flatten(self.features(x), 1))


class EinsumAttention(nn.Module):
    def __init__(self, dim: int = 14, heads: int = 3, head_dim: int = 5) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(dim, heads, head_dim) * dim**-0.5)
        self.key = nn.Parameter(torch.randn(dim, heads, head_dim) * dim**-0.5)
        self.value = nn.Parameter(torch.randn(dim, heads, head_dim) * dim**-0.5)
        self.out = nn.Parameter(torch.randn(heads, head_dim, dim) * (heads * head_dim) ** -0.5)
        self.scale = head_dim**-0.5

    def forward(self, x: Tensor) -> Tensor:
        q = torch.einsum("bnd,dhk->bhnk", x, self.query)
        k = torch.einsum("bnd,dhk->bhnk", x, self.key)
        v = torch.einsum("bnd,dhk->bhnk", x, self.value)
        attention = torch.einsum("bhqk,bhnk->bhqn", q * self.scale, k).softmax(-1)
        return x + torch.einsum("bhqn,bhnk,hkd->bqd", attention, v, self.out)


class PixelShuffleNet(nn.Module):
    def __init__(
        self, inputs: int = 3, channels: int = 12, shuffled: int = 5, outputs: int = 3, factor: int = 2
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 5, padding=2)
        self.conv2 = nn.Conv2d(channels, shuffled * factor**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(factor)
        self.conv3 = nn.Conv2d(shuffled, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.conv1(x))
        return self.conv3(F.relu(self.shuffle(self.conv2(x))))


class InstanceNormNet(nn.Module):
    def __init__(self, inputs: int = 3, channels: tuple[int, int] = (8, 13), outputs: int = 3) -> None:
        super().__init__()
        first, second = channels
        self.conv1 = nn.Conv2d(inputs, first, 3, padding=1, padding_mode="reflect")
        self.norm1 = nn.InstanceNorm2d(first, affine=True)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.norm2 = nn.InstanceNorm2d(second)
        self.conv3 = nn.Conv2d(second, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        x = F.relu(self.norm2(self.conv2(x)))
        return self.conv3(x)


MODELS = [
    entry("mlp", MLP, lambda: floats(3, 11)),
    entry("mlp_batchnorm_gelu", NormalizedMLP, lambda: floats(3, 11)),
    entry("mlp_layernorm_residual", ResidualMLP, lambda: floats(3, 11)),
    entry("mlp_dropout", DropoutMLP, lambda: floats(3, 11)),
    entry("mlp_gated", GatedMLP, lambda: floats(3, 11)),
    entry("conv1d", Conv1dNet, lambda: floats(2, 4, 24)),
    entry("conv3d", Conv3dNet, lambda: floats(3, 2, 6, 8, 8)),
    entry("tied_linears", TiedLinears, lambda: floats(3, 11)),
    entry("shared_module", SharedModule, lambda: floats(3, 11)),
    entry("separable", SeparableNet, lambda: floats(2, 3, 16, 16)),
    entry("branches", BranchesNet, lambda: floats(2, 3, 16, 16)),
    entry("squeeze_excite", SqueezeExciteNet, lambda: floats(2, 3, 16, 16)),
    entry("prelu_maxpool", PReLUNet, lambda: floats(2, 3, 16, 16)),
    entry("einsum_attention", EinsumAttention, lambda: floats(2, 7, 14)),
    entry("pixel_shuffle", PixelShuffleNet, lambda: floats(2, 3, 16, 16)),
    entry("instancenorm", InstanceNormNet, lambda: floats(2, 3, 16, 16)),
]
