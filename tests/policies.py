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


class Entities(nn.Module):
    """Any number of entities, which attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Linear(3, 8), nn.LayerNorm(8)
        self.attend, self.head = nn.MultiheadAttention(8, 2, batch_first=True), nn.Linear(8, 4)

    def forward(self, entities: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.embed(entities))
        x = self.norm(x + self.attend(x, x, x, need_weights=False)[0])
        return {"action_logits": self.head(x.mean(1))}


class Squashed(nn.Module):
    """An actor whose actions are squashed and brought to their range by buffers, as in SAC."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.mean, self.log_std = nn.Linear(3, 8), nn.Linear(8, 2), nn.Linear(8, 2)
        self.register_buffer("scale", torch.tensor([2.0, 3.0]))
        self.register_buffer("shift", torch.tensor([0.5, -0.5]))

    def forward(self, obs: Tensor) -> dict[str, Tensor]:
        x = torch.relu(self.body(obs))
        action = torch.tanh(self.mean(x)) * self.scale + self.shift
        return {"action": action, "log_std": self.log_std(x).clamp(-5, 2)}


class TwinCritics(nn.Module):
    """Two values of an observation and an action, laid end to end."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1)) for _ in range(2))

    def forward(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.cat([obs, action], 1)
        return self.first(x), self.second(x)


class Cell(nn.Module):
    """One step of a recurrent core."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.policy, self.value = nn.LSTMCell(3, 5), nn.Linear(5, 2), nn.Linear(5, 1)

    def forward(self, obs: Tensor, state: tuple[Tensor, Tensor]) -> dict[str, object]:
        state = self.core(obs, state)
        return {"logits": self.policy(state[0]), "value": self.value(state[0]), "state": state}


class ActorCritic(nn.Module):
    """Two networks of one observation, with a method for the value alone."""

    def __init__(self) -> None:
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        return self.actor(obs), self.critic(obs)

    def values(self, obs: Tensor) -> tuple[Tensor]:
        return (self.critic(obs),)
