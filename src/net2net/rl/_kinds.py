"""What agents are made of: networks, their copies, optimizers, and where net_arch stands in them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from net2net.errors import OptionError
from net2net.rl._networks import ActorAndCritics, ActorCritic, QNetwork, RecurrentActorCritic


@dataclass(frozen=True)
class Stack:
    """Layers that a net_arch is about: their place, the key that they have in one that is a dict, and whether the last
    of them is an output and not a hidden layer."""

    name: str
    key: str
    has_head: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of agents.

    Attributes:
        networks: of its policy, those that are trained, as one module.
        optimizers: of these networks, as attributes of the policy.
        stacks: the hidden layers.
        copies: of its policy, target networks in the places of those that they are copies of.
        renamed: for each network with a copy the copy's name.
    """

    networks: Callable[[Any], nn.Module]
    optimizers: tuple[str, ...]
    stacks: tuple[Stack, ...]
    copies: Callable[[Any], nn.Module] | None = None
    renamed: Mapping[str, str] | None = None


_OF_MLP = (Stack("mlp_extractor.policy_net", "pi"), Stack("mlp_extractor.value_net", "vf"))
_OF_TWO = ("actor.optimizer", "critic.optimizer")
_KINDS: dict[type, Kind] = {
    ActorCriticPolicy: Kind(ActorCritic, ("optimizer",), _OF_MLP),
    DQNPolicy: Kind(
        lambda policy: QNetwork(policy.q_net),
        ("optimizer",),
        (Stack("q_net.q_net", "", True),),
        lambda policy: QNetwork(policy.q_net_target),
        {"q_net": "q_net_target"},
    ),
    SACPolicy: Kind(
        lambda policy: ActorAndCritics(policy.actor, policy.critic),
        _OF_TWO,
        (Stack("actor.latent_pi", "pi"), Stack("critic.qf*", "qf", True)),
        lambda policy: ActorAndCritics(policy.actor, policy.critic_target),
        {"critic": "critic_target"},
    ),
    TD3Policy: Kind(
        lambda policy: ActorAndCritics(policy.actor, policy.critic),
        _OF_TWO,
        (Stack("actor.mu", "pi", True), Stack("critic.qf*", "qf", True)),
        lambda policy: ActorAndCritics(policy.actor_target, policy.critic_target),
        {"actor": "actor_target", "critic": "critic_target"},
    ),
}
_RECURRENT = Kind(RecurrentActorCritic, ("optimizer",), _OF_MLP)


def kind_of(agent: BaseAlgorithm) -> Kind:
    """What an agent is made of.

    Raises:
        OptionError: its policy is of a class that isn't known, or explores by noise that depends on its units.
    """
    policy = agent.policy
    kind = _RECURRENT if is_recurrent(policy) else next((k for c, k in _KINDS.items() if isinstance(policy, c)), None)
    name = f"{type(agent).__name__} with {type(policy).__name__}"
    if kind is None:
        raise OptionError(
            f"{name} is of no known kind; agents with the policies of PPO, A2C, DQN, SAC, TD3, DDPG and RecurrentPPO "
            "can be grown."
        )
    if agent.use_sde:
        raise OptionError(f"{name} has use_sde=True: its noise depends on its last hidden layer and would change.")
    copied = () if kind.renamed is None else tuple(kind.renamed.values())
    odd = set(policy.state_dict()) - set(kind.networks(policy).state_dict())
    odd = {key for key in odd if key.split(".")[0] not in copied}
    if odd:
        raise OptionError(f"{name} has tensors that are of no known network: {', '.join(sorted(odd)[:5])}.")
    return kind


def is_recurrent(policy: nn.Module) -> bool:
    """Whether a policy is one of RecurrentPPO."""
    if not hasattr(policy, "lstm_actor"):
        return False
    module = importlib.import_module("sb3_contrib.common.recurrent.policies")
    return isinstance(policy, module.RecurrentActorCriticPolicy)
