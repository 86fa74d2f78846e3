"""What an agent keeps besides its networks: statistics of VecNormalize, noise of actions, replayed transitions."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from net2net.errors import OptionError, warn
from net2net.rl._world import ONE, World, moved

_SETTINGS = ("clip_obs", "clip_reward", "gamma", "epsilon", "training", "norm_obs", "norm_reward")


def normalised(agent: BaseAlgorithm, env: VecEnv) -> VecEnv:
    """A new environment behind a VecNormalize where the agent's is; its statistics are still empty.

    Raises:
        OptionError: the agent's stands between other wrappers, or it has none and the new environment does.
    """
    old, there = agent.get_vec_normalize_env(), unwrap_vec_normalize(env)
    if old is None and there is not None:
        raise OptionError(
            "the environment has a VecNormalize and the agent has learned without: its observations would be others. "
            "Give the environment as it is."
        )
    if old is None or there is not None:
        return env
    if not isinstance(agent.get_env(), VecNormalize):
        raise OptionError("other wrappers stand around the agent's VecNormalize: wrap the new environment in the same.")
    return VecNormalize(env, norm_obs_keys=old.norm_obs_keys, **{name: getattr(old, name) for name in _SETTINGS})


def carry_statistics(agent: BaseAlgorithm, new: BaseAlgorithm, world: World) -> None:
    """The statistics of VecNormalize: new features have mean 0 and variance 1, until they are seen."""
    old, grown = agent.get_vec_normalize_env(), new.get_vec_normalize_env()
    if old is None or grown is None:
        return
    for name in _SETTINGS:
        setattr(grown, name, getattr(old, name))
    grown.ret_rms = copy.deepcopy(old.ret_rms)
    if isinstance(old.obs_rms, dict):
        grown.obs_rms = {key: _statistics(rms, key, world) for key, rms in old.obs_rms.items()}
    elif hasattr(old, "obs_rms"):
        grown.obs_rms = _statistics(old.obs_rms, ONE, world)


def _statistics(old: RunningMeanStd, key: str, world: World) -> RunningMeanStd:
    features, result = world.observations.get(key), RunningMeanStd()
    if features is not None and old.mean.shape[features.axis] == len(features.old):
        features = replace(features, frames=1)  # frames are stacked on top of it
    result.mean, result.var = moved(old.mean, features, False, 0.0), moved(old.var, features, False, 1.0)
    result.mean, result.var, result.count = result.mean.copy(), result.var.copy(), old.count
    return result


def carry_noise(agent: BaseAlgorithm, new: BaseAlgorithm, world: World) -> None:
    """The noise of actions: that of new ones has mean 0 and the mean of the others' sizes."""
    if world.actions is None or agent.action_noise is None:
        return
    noise: Any = copy.deepcopy(agent.action_noise)
    if not hasattr(noise, "_mu") or not hasattr(noise, "_sigma"):
        raise OptionError(
            f"the noise of the agent's actions, a {type(noise).__name__}, is of no known size: set its action_noise to "
            "None first, and give the new agent one."
        )
    noise._mu = moved(np.asarray(noise._mu), world.actions, False)
    noise._sigma = moved(np.asarray(noise._sigma), world.actions, False, float(np.mean(noise._sigma)))
    if getattr(noise, "initial_noise", None) is not None:
        noise.initial_noise = moved(np.asarray(noise.initial_noise), world.actions, False)
    noise.reset()
    new.action_noise = noise


def carry_replay(agent: Any, new: Any, world: World) -> None:
    """Old transitions as ones of the new world: what was not observed is 0, and new actions were not taken.

    Warns:
        Net2NetWarning: they can't be told in the new world, and the buffer is empty.
    """
    old, grown = getattr(agent, "replay_buffer", None), getattr(new, "replay_buffer", None)
    if old is None or grown is None or not (old.full or old.pos):
        return
    reason = _not_told(old, grown, world)
    if reason:
        warn(f"the new agent's replay buffer is empty: {reason}.")
        return
    filled = old.buffer_size if old.full else old.pos + 1  # one more: the next observation may stand there
    space = agent.observation_space
    inner = space.spaces if isinstance(space, spaces.Dict) else {ONE: space}
    for name in ("observations", "next_observations"):
        if not hasattr(old, name):
            continue
        theirs, mine = getattr(old, name), getattr(grown, name)
        for key, one in inner.items():
            source, target = (theirs, mine) if key == ONE else (theirs[key], mine[key])
            numbers = isinstance(one, spaces.Discrete)
            target[:filled] = moved(source[:filled], world.observations.get(key), numbers)
    numbers = isinstance(agent.action_space, spaces.Discrete)
    grown.actions[:filled] = moved(old.actions[:filled], world.actions, numbers)
    for name in ("rewards", "dones", "timeouts"):
        getattr(grown, name)[:filled] = getattr(old, name)[:filled]
    grown.pos, grown.full = old.pos, old.full


def _not_told(old: Any, grown: Any, world: World) -> str | None:
    """Why old transitions are none of the new world."""
    if type(old) not in (ReplayBuffer, DictReplayBuffer, NStepReplayBuffer):
        return f"how a {type(old).__name__} keeps observations isn't known"
    if old.n_envs != grown.n_envs:
        return f"it is of {old.n_envs} environments, and now there are {grown.n_envs}"
    if world.actions is not None and set(world.actions.old) - set(world.actions.new):
        return "actions that were taken are gone"
    return None
