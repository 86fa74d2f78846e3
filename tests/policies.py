"""Small policies of the kinds that surgeries are asked for, with weights as training leaves them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from support import trained


class Recurrent(nn.Module):
    """Observations over time through a recurrent layer, to logits and a value; the state is given and given back."""

    def __init__(self, kind: str = "lstm", features: int = 3, hidden: int = 5, actions: int = 2) -> None:
        super().__init__()
        self.core = (nn.LSTM if kind == "lstm" else nn.GRU)(features, hidden, batch_first=True)
        self.policy, self.value = nn.Linear(hidden, actions), nn.Linear(hidden, 1)

    def forward(self, obs: Tensor, state: tuple[Tensor, Tensor] | Tensor | None = None) -> dict[str, object]:
        out, state = self.core(obs, state)
        return {"logits": self.policy(out), "value": self.value(out), "state": state}


class Normalised(nn.Module):
    """Observations brought to mean 0 and variance 1 by running statistics, and clipped."""

    def __init__(self, features: int = 3, width: int = 7, outputs: int = 2) -> None:
        super().__init__()
        self.register_buffer("mean", torch.linspace(-0.4, 0.9, features))
        self.register_buffer("var", torch.linspace(0.5, 2.5, features))
        self.first, self.head = nn.Linear(features, width), nn.Linear(width, outputs)

    def forward(self, obs: Tensor) -> Tensor:
        obs = torch.clamp((obs - self.mean) / torch.sqrt(self.var + 1e-8), -10, 10)
        return self.head(torch.tanh(self.first(obs)))


class Frames(nn.Module):
    """A convolution over stacked frames, as on Atari."""

    def __init__(self, channels: int = 4, actions: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(channels, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 8), nn.ReLU())
        self.q_values = nn.Linear(8, actions)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        return {"q_values": self.q_values(self.body(frames))}


class Gaussian(nn.Module):
    """Means from a head, log-stds as a parameter of their own."""

    def __init__(self, features: int = 3, actions: int = 2) -> None:
        super().__init__()
        self.body, self.mean = nn.Linear(features, 6), nn.Linear(6, actions)
        self.log_std = nn.Parameter(torch.linspace(-1.0, 0.5, actions))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(torch.tanh(self.body(obs)))
        return mean, self.log_std.expand_as(mean)


class Tokens(nn.Module):
    """Tokens through an embedding, a recurrent layer and a head, whose weights may be the embedding's."""

    def __init__(self, tokens: int = 7, width: int = 5, tied: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.embed, self.core = nn.Embedding(tokens, width), nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, tokens, bias=bias)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.core(self.embed(ids))[0])}


def made(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model as training leaves it, in float64."""
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, 0.0, 0.4)
    return trained(model)


def drawn(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers in float64."""
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
