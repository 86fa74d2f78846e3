"""Stock environments as an agent gets to know them first: less to see, and fewer actions. They need gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

Make = Callable[[], gymnasium.Env[Any, Any]]


class Seen(gymnasium.ObservationWrapper[Any, Any, Any]):
    """Some of the observations."""

    def __init__(self, env: gymnasium.Env[Any, Any], places: tuple[int, ...]) -> None:
        super().__init__(env)
        self.places = list(places)
        space: Any = env.observation_space
        self.observation_space = spaces.Box(space.low[self.places], space.high[self.places], dtype=np.float32)

    def observation(self, observation: Any) -> Any:
        """Those at the places."""
        return observation[self.places].astype(np.float32)


class Actions(gymnasium.ActionWrapper[Any, Any, Any]):
    """The actions of a Discrete space in another order, or fewer of them."""

    def __init__(self, env: gymnasium.Env[Any, Any], numbers: tuple[int, ...]) -> None:
        super().__init__(env)
        self.numbers = numbers
        self.action_space = spaces.Discrete(len(numbers))

    def action(self, action: Any) -> Any:
        """The environment's own number."""
        return self.numbers[int(action)]


class Coasting(gymnasium.Wrapper[Any, Any, Any, Any]):
    """CartPole with a third action: no push."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.action_space = spaces.Discrete(3)
        self.push = float(env.unwrapped.force_mag)  # type: ignore[attr-defined]  # CartPole's

    def step(self, action: Any) -> Any:
        """A step, without force where the action is 2."""
        inner: Any = self.env.unwrapped
        inner.force_mag = 0.0 if action == 2 else self.push
        return self.env.step(min(int(action), 1))


def cart_pole(places: tuple[int, ...], coasting: bool) -> Make:
    """CartPole seen at some of x, its speed, the angle and its speed."""

    def make() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make("CartPole-v1")
        return Seen(Coasting(env) if coasting else env, places)

    return make


def acrobot(places: tuple[int, ...], numbers: tuple[int, ...]) -> Make:
    """Acrobot seen at some of the cosines and sines of its angles and their speeds, with some of its three torques."""
    return lambda: Seen(Actions(gymnasium.make("Acrobot-v1"), numbers), places)
