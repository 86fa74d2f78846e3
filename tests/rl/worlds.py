"""Small worlds for agents: stock environments, and the same with more to see and to do."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from net2net import Features as F

SEEN = {n: F(list("abcd")[:n], ["new", *list("abcd")[:n], "late"]) for n in (3, 4)}


class TwoTorques(gymnasium.ActionWrapper[Any, Any, Any]):
    """Two actions where there was one: an axis of one place is related to no weight."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.action_space = spaces.Box(-1, 1, (2,), np.float32)

    def action(self, action: Any) -> Any:
        return np.array([action[0] + 0.5 * action[1]], np.float32)


class Wider(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A feature of noise in front, one that is 7 behind, and one more action, which does what the last one does."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        old, (size,) = env.action_space, env.observation_space.shape
        self.noise = np.random.default_rng(0)
        self.observation_space = spaces.Box(-100, 100, (size + 2,), np.float32)
        self.action_space = (
            spaces.Discrete(old.n + 1)
            if isinstance(old, spaces.Discrete)
            else spaces.Box(np.append(old.low, -9.0).astype("f"), np.append(old.high, 9.0).astype("f"))
        )

    def _seen(self, obs: Any) -> Any:
        return np.concatenate([5 * self.noise.normal(size=1), obs, [7.0]]).astype(np.float32)

    def reset(self, **kwargs: Any) -> Any:
        obs, info = self.env.reset(**kwargs)
        return self._seen(obs), info

    def step(self, action: Any) -> Any:
        old = self.env.action_space
        known = min(action, old.n - 1) if isinstance(old, spaces.Discrete) else action[:-1]
        obs, *rest = self.env.step(known)
        return (self._seen(obs), *rest)


def cart_pole(wider: bool = False) -> Any:
    env = gymnasium.make("CartPole-v1")
    return Wider(env) if wider else env


def pendulum(wider: bool = False) -> Any:
    env = TwoTorques(gymnasium.make("Pendulum-v1"))
    return Wider(env) if wider else env
