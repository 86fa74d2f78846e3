"""Example inputs for the networks of an agent: observations that it has seen, or ones that its space allows."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import get_action_dim, preprocess_obs
from torch import nn

from net2net.rl._kinds import is_recurrent
from net2net.rl._world import ONE, World

COUNT = 32
# Spaces without bounds give numbers of any size.
_LARGEST = 10.0


def examples_for(agent: BaseAlgorithm, networks: nn.Module, world: World) -> tuple[Any, ...]:
    """Arguments of the networks' forward.

    Args:
        agent: the agent.
        networks: of its policy, in the old world.
        world: what changes; observations that are made up have the constants of features that go.
    """
    policy, count = agent.policy, COUNT
    seen = seen_by(agent, count)
    observed = _made_up(agent.observation_space, world, count) if seen is None else seen
    tensors: Any = {key: torch.as_tensor(np.asarray(array), device=policy.device) for key, array in observed.items()}
    tensors = tensors if isinstance(agent.observation_space, spaces.Dict) else tensors[ONE]
    obs = preprocess_obs(tensors, agent.observation_space, normalize_images=policy.normalize_images)
    length = len(next(iter(observed.values())))
    draw = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return (2 * torch.rand(*shape, generator=draw) - 1).to(policy.device)

    if is_recurrent(policy):
        layer: Any = policy.lstm_actor
        shape = layer.num_layers, length, layer.hidden_size
        states = [(drawn(*shape), drawn(*shape)) for _ in range(2 if hasattr(networks, "lstm_critic") else 1)]
        return (obs, *states)
    if hasattr(networks, "actor"):
        return obs, drawn(length, get_action_dim(agent.action_space))
    return (obs,)


def seen_by(agent: BaseAlgorithm, count: int) -> dict[str, Any] | None:
    """Some of the observations in the agent's buffer, as its networks get them; None where it is empty."""
    buffer: Any = getattr(agent, "rollout_buffer", None) or getattr(agent, "replay_buffer", None)
    filled = 0 if buffer is None else buffer.buffer_size if buffer.full else buffer.pos
    if not filled:
        return None
    shapes = buffer.obs_shape if isinstance(buffer.obs_shape, dict) else {ONE: buffer.obs_shape}
    held = buffer.observations if isinstance(buffer.observations, dict) else {ONE: buffer.observations}
    found = {}
    for key, shape in shapes.items():
        rows = held[key][:filled] if buffer is getattr(agent, "replay_buffer", None) else held[key]
        rows = rows.reshape(-1, *shape)
        found[key] = rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)]
    normalised = agent.get_vec_normalize_env()
    if normalised is not None and buffer is getattr(agent, "replay_buffer", None):  # it keeps them as they were
        given: Any = normalised.normalize_obs(found.get(ONE, found))
        found = given if ONE not in found else {ONE: given}
    if isinstance(agent.observation_space, spaces.Discrete):
        found = {ONE: found[ONE].reshape(-1)}
    return found


def _made_up(space: spaces.Space[Any], world: World, count: int) -> dict[str, Any]:
    space = copy.deepcopy(space)
    space.seed(0)
    samples: list[Any] = [space.sample() for _ in range(count)]
    by_key = {k: [s[k] for s in samples] for k in space.spaces} if isinstance(space, spaces.Dict) else {ONE: samples}
    found = {}
    for key, rows in by_key.items():
        array = np.stack(rows)
        features = world.observations.get(key)
        if np.issubdtype(array.dtype, np.floating):
            array = np.clip(array, -_LARGEST, _LARGEST)
            for name, number in ({} if features is None else features.constants).items():
                assert features is not None
                places = [k for k, other in enumerate(features.old * features.frames) if other == name]
                array = np.moveaxis(array, features.axis, 0)
                array[places] = number
                array = np.moveaxis(array, 0, features.axis)
        found[key] = array
    return found
