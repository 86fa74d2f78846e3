"""A trained agent goes on in a changed environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from net2net.errors import OptionError, VerificationError, require_kind
from net2net.growth import Growth
from net2net.operators import grow as grow_network
from net2net.operators import replay
from net2net.optimizer import RAMP_STEPS, require_ramp
from net2net.optimizer import ramp as start_ramp
from net2net.rl._agent import agent_like, carry_others
from net2net.rl._carried import carry_noise, carry_replay, carry_statistics, normalised
from net2net.rl._examples import examples_for
from net2net.rl._kinds import Kind, kind_of
from net2net.rl._request import NetArch, Request, request_of
from net2net.rl._world import world_of
from net2net.surgeries import Features, surgery

Agent = TypeVar("Agent", bound=BaseAlgorithm)


def grow(
    agent: Agent,
    env: Any,
    *,
    net_arch: NetArch | None = None,
    features: Features | Mapping[str, Features] | None = None,
    outputs: Features | None = None,
    lstm_hidden_size: int | None = None,
    ramp: int | None = None,
    hold: int = 0,
    seed: int = 0,
) -> Agent:
    """A new agent that goes on in a changed environment: other observations and actions, wider layers.

    It acts as the old one does, whatever stands in new observations, and `learn()` goes on: with the optimizers' state,
    target networks, VecNormalize's statistics, schedules, counters of steps, and the replay buffer, where what was not
    observed is 0. A ramp brings the learning rate back over the first steps of the optimizer.

    Args:
        agent: of PPO, A2C, DQN, SAC, TD3, DDPG or sb3-contrib's RecurrentPPO. It and its environment stay as they are.
        env: the new environment, wrapped as the agent's was; a VecNormalize is put around it where the agent has one.
        net_arch: the sizes of all hidden layers, as in `policy_kwargs`: none smaller than it is, and no more of them.
        features: the `Features` of the observations before and after; of a Dict space a mapping from keys. Of images
            they are the channels, of Discrete observations the numbers.
        outputs: the `Features` of the actions before and after. New Discrete actions begin at "never" (of DQN at
            "lowest"), new continuous ones in the middle of their range.
        lstm_hidden_size: of RecurrentPPO, as in `policy_kwargs`.
        ramp, hold: steps of the optimizer, as for `Growth.optimizer`: over how many the learning rate rises from 0 (by
            default 200), and for how many it is 0 before that.
        seed: of new weights.

    Returns:
        The agent, of the same class. `learn(..., reset_num_timesteps=False)` goes on counting.

    Raises:
        GrowthError: nothing changes, the environment's spaces aren't those that are described, or a part of the agent
            can't be carried; the message says which, and what works.

    Warns:
        Net2NetWarning: the replay buffer can't be carried, and is empty.

    Source: OpenAI et al. (2019), "Dota 2 with Large Scale Deep Reinforcement Learning", section 3.3 and appendix B.

    Example:
        >>> import gymnasium, net2net, numpy as np
        >>> from stable_baselines3 import PPO
        >>> positions = gymnasium.wrappers.TransformObservation(
        ...     gymnasium.make("CartPole-v1"), lambda obs: obs[[0, 2]], gymnasium.spaces.Box(-5, 5, (2,), np.float32))
        >>> agent = PPO("MlpPolicy", positions, policy_kwargs={"net_arch": [16, 16]}, device="cpu")
        >>> names = net2net.Features(["x", "angle"], ["x", "v", "angle", "w"])
        >>> new = grow(agent, gymnasium.make("CartPole-v1"), features=names, net_arch=[64, 64])
        >>> new.policy.mlp_extractor.policy_net[0], new.num_timesteps == agent.num_timesteps
        (Linear(in_features=4, out_features=64, bias=True), True)
    """
    require_kind(agent, BaseAlgorithm, "the agent", "one of Stable-Baselines3")
    require_ramp(ramp, hold)
    kind = kind_of(agent)
    wrapped = normalised(agent, type(agent)._wrap_env(env))
    world = world_of((agent.observation_space, agent.action_space), wrapped, features, outputs)
    if agent.get_vec_normalize_env() is not None and any(f.constants for f in world.observations.values()):
        raise OptionError("features can't go behind a VecNormalize, where constants are none.")
    networks = kind.networks(agent.policy)
    request = request_of(agent, kind, networks, world, net_arch, lstm_hidden_size)
    growth = _growth(networks, examples_for(agent, networks, world), request, seed)
    new = agent_like(agent, wrapped, request.policy_kwargs)
    _write(new, kind, _tensors(agent, kind, growth))
    for name in kind.optimizers:
        optimizer = _at(new.policy, name)
        _carry_optimizer(_at(agent.policy, name), optimizer, kind.networks(new.policy), growth)
        rise = RAMP_STEPS if ramp is None else ramp
        if rise or hold:
            start_ramp(optimizer, rise, hold=hold)
    carry_others(agent, new)
    carry_statistics(agent, new, world)
    carry_noise(agent, new, world)
    carry_replay(agent, new, world)
    return new  # type: ignore[no-any-return]  # SB3 gives no types


def _growth(networks: nn.Module, examples: tuple[Any, ...], request: Request, seed: int) -> Growth:
    if request.features or request.outputs:
        sizes = request.sizes or None
        return surgery(networks, examples, features=request.features, outputs=request.outputs, sizes=sizes, seed=seed)
    if request.sizes:
        return grow_network(networks, examples, sizes=request.sizes, seed=seed)
    raise OptionError("nothing changes: give net_arch=, features=, outputs= or lstm_hidden_size=.")


def _tensors(agent: BaseAlgorithm, kind: Kind, growth: Growth) -> dict[str, torch.Tensor]:
    """The new policy's tensors: of the networks, and of their copies by the same plan."""
    tensors = dict(growth.student.state_dict())
    if kind.copies is None or kind.renamed is None:
        return tensors
    copies = replay(growth.plan, kind.copies(agent.policy), growth.inputs).student.state_dict()
    for key, tensor in copies.items():
        first, _, rest = key.partition(".")
        if first in kind.renamed:
            tensors[f"{kind.renamed[first]}.{rest}"] = tensor
    return tensors


def _write(new: Any, kind: Kind, tensors: Mapping[str, torch.Tensor]) -> None:
    """Put tensors into a policy.

    Raises:
        VerificationError: the policy's class has made other networks of its arguments.
    """
    own = new.policy.state_dict()
    odd = sorted(set(own) ^ set(tensors)) or [k for k in own if own[k].shape != tensors[k].shape]
    if odd:
        raise VerificationError(
            f"{type(new.policy).__name__} made other networks of its policy_kwargs and the new spaces than the growth "
            f"has: '{odd[0]}'. Its class builds layers that net_arch isn't about."
        )
    new.policy.load_state_dict(tensors)


def _carry_optimizer(
    old: torch.optim.Optimizer, new: torch.optim.Optimizer, networks: nn.Module, growth: Growth
) -> None:
    """An optimizer's state, for the parameters of the new policy."""
    carried = growth.optimizer(old)
    names: dict[torch.Tensor, str] = {parameter: name for name, parameter in growth.student.named_parameters()}
    mine = dict(networks.named_parameters())
    for parameter, state in carried.state.items():
        new.state[mine[names[parameter]]] = state
    for group, options in zip(new.param_groups, carried.param_groups, strict=True):
        group.update({key: value for key, value in options.items() if key != "params"})


def _at(owner: Any, name: str) -> Any:
    for part in name.split("."):
        owner = getattr(owner, part)
    return owner
