"""The networks of a policy as plain modules: the same submodules under the same names, with one forward for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

# The limits of the log-std in Stable-Baselines3's SAC.
_LOG_STD = (-20, 2)
State = tuple[Tensor, Tensor]


class Part(nn.Module):
    """Some submodules and parameters of a module, under their names there."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    def __init__(self, owner: nn.Module, *names: str) -> None:
        super().__init__()
        for name in names:
            if getattr(owner, name, None) is not None:
                setattr(self, name, getattr(owner, name))


class _OnPolicy(Part):
    """What an actor and a critic of observations have in common."""

    def __init__(self, policy: nn.Module, *more: str) -> None:
        extractors = ("features_extractor", "pi_features_extractor", "vf_features_extractor")
        super().__init__(policy, *extractors, "mlp_extractor", "action_net", "value_net", "log_std", *more)

    def features(self, obs: Any) -> tuple[Tensor, Tensor]:
        """What the actor and the critic see."""
        seen = self.pi_features_extractor(obs)
        shared = self.vf_features_extractor is self.pi_features_extractor
        return seen, seen if shared else self.vf_features_extractor(obs)

    def heads(self, pi: Tensor, vf: Tensor) -> dict[str, Any]:
        """Actions and value."""
        actions = self.action_net(self.mlp_extractor.forward_actor(pi))
        value = self.value_net(self.mlp_extractor.forward_critic(vf))
        if not hasattr(self, "log_std"):
            return {"action_logits": actions, "value": value}
        return {"mean": actions, "log_std": self.log_std.expand_as(actions), "value": value}


class ActorCritic(_OnPolicy):
    """Of PPO and A2C: logits or means of actions, and the value, of observations."""

    def forward(self, obs: Any) -> dict[str, Any]:
        return self.heads(*self.features(obs))


class RecurrentActorCritic(_OnPolicy):
    """Of RecurrentPPO: one step in time; states are given and given back."""

    def __init__(self, policy: nn.Module) -> None:
        super().__init__(policy, "lstm_actor", "lstm_critic", "critic")

    def forward(self, obs: Any, pi: State, vf: State | None = None) -> dict[str, Any]:
        of_actor, of_critic = self.features(obs)
        seen, pi = self.lstm_actor(of_actor.unsqueeze(0), pi)
        latent, states = seen.squeeze(0), {"pi": pi}
        if hasattr(self, "lstm_critic"):
            valued, states["vf"] = self.lstm_critic(of_critic.unsqueeze(0), vf)
            return {**self.heads(latent, valued.squeeze(0)), **states}
        return {**self.heads(latent, self.critic(of_critic) if hasattr(self, "critic") else latent), **states}


class QNetwork(nn.Module):
    """Of DQN: a value of each action."""

    def __init__(self, q_net: nn.Module) -> None:
        super().__init__()
        self.q_net: Any = Part(q_net, "features_extractor", "q_net")

    def forward(self, obs: Any) -> dict[str, Tensor]:
        return {"q_values": self.q_net.q_net(self.q_net.features_extractor(obs))}


class ActorAndCritics(nn.Module):
    """Of SAC and TD3: what the actor does, and what each critic thinks of an action."""

    def __init__(self, actor: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.critics = [name for name, _ in critic.named_children() if name.startswith("qf")]
        self.actor: Any = Part(actor, "features_extractor", "latent_pi", "mu", "log_std")
        self.critic: Any = Part(critic, "features_extractor", *self.critics)

    def forward(self, obs: Any, actions: Tensor) -> dict[str, Tensor]:
        seen = self.actor.features_extractor(obs)
        if hasattr(self.actor, "latent_pi"):
            latent = self.actor.latent_pi(seen)
            found = {"mean": self.actor.mu(latent), "log_std": self.actor.log_std(latent).clamp(*_LOG_STD)}
        else:
            found = {"mean": self.actor.mu(seen)}
        if self.critic.features_extractor is not self.actor.features_extractor:
            seen = self.critic.features_extractor(obs)
        both = torch.cat([seen, actions], 1)
        return {**found, **{name: getattr(self.critic, name)(both) for name in self.critics}}
