"""A new agent of the same class, as Stable-Baselines3 makes one when it loads a file: settings, counters, spaces."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from net2net.capture import steady
from net2net.errors import OptionError

# What belongs to the old world; Stable-Baselines3 makes all of it anew.
_OF_THE_WORLD = ("observation_space", "action_space", "n_envs", "_last_original_obs", "_last_episode_starts")


def agent_like(agent: BaseAlgorithm, env: VecEnv, policy_kwargs: Mapping[str, Any]) -> Any:
    """An agent with the old one's settings, schedules and counters in a new environment; its networks are new.

    Raises:
        OptionError: the agent's class can't be constructed.
    """
    made, tensors = agent._get_torch_save_params()
    left = {*agent._excluded_save_params(), *_OF_THE_WORLD, *(name.split(".")[0] for name in (*made, *tensors))}
    settings = copy.deepcopy({name: value for name, value in vars(agent).items() if name not in left})
    devices = [agent.device] if agent.device.type == "cuda" else []
    cls: Any = type(agent)
    try:
        new = cls(policy=agent.policy_class, env=env, device=agent.device, _init_setup_model=False)
    except TypeError as error:
        raise OptionError(f"{cls.__name__} can't be constructed as Stable-Baselines3's classes are: {error}") from error
    vars(new).update(settings)
    new.policy_kwargs = {**new.policy_kwargs, **policy_kwargs}
    new._last_obs = None  # learn() begins with a reset
    if _aims_at_entropy(agent):
        new.target_entropy = "auto"
    with steady(devices):  # the weights that it draws are replaced at once
        new._setup_model()
    return new


def carry_others(agent: Any, new: Any) -> None:
    """SAC's coefficient of entropy, with its optimizer, which belong to no network."""
    for name in agent._get_torch_save_params()[1]:
        value = getattr(agent, name)
        if value is not None:
            with torch.no_grad():
                getattr(new, name).copy_(value)
    if getattr(agent, "ent_coef_optimizer", None) is not None:
        new.ent_coef_optimizer.load_state_dict(agent.ent_coef_optimizer.state_dict())


def _aims_at_entropy(agent: Any) -> bool:
    """Whether a SAC agent's target is the one that follows from the number of its actions."""
    target = getattr(agent, "target_entropy", None)
    return target is not None and target == float(-np.prod(agent.action_space.shape).astype(np.float32))
