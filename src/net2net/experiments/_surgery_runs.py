"""One agent, from its first step to the end: before the surgery, at it, and after it in four ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from net2net.experiments._agents import AgentTask
from net2net.experiments._surgery_results import AgentRun, AtSurgery

EPISODES = 20
# Seeds of the episodes that are measured: none that training uses.
_FIRST = 10_000
POINTS = 10
Floats = npt.NDArray[np.float64]


def runs_of(task: AgentTask, seed: int) -> Iterator[AgentRun]:
    """The runs of one seed: the agent before the surgery, grown, trained on as it was, and a big one from scratch."""
    from stable_baselines3.common.utils import set_random_seed

    from net2net import rl

    before, after = task.steps
    agent = task.agent(task.before, False, seed)
    yield _trained(task, "before", agent, task.before, before, seed)
    grown = rl.grow(agent, _like(agent, task.after), seed=seed, **task.request)
    at = at_surgery(task, agent, grown)
    set_random_seed(seed)
    yield _trained(task, "grown", grown, task.after, after, seed, at)
    set_random_seed(seed)
    yield _trained(task, "continued", agent, task.before, after, seed)
    yield _trained(task, "scratch", task.agent(task.after, True, seed), task.after, before + after, seed)


def _like(agent: Any, make: Callable[[], Any]) -> Any:
    """As many environments as an agent has."""
    from stable_baselines3.common.vec_env import DummyVecEnv

    return DummyVecEnv([make] * agent.n_envs)


def _trained(
    task: AgentTask, arm: str, agent: Any, make: Callable[[], Any], steps: int, seed: int, at: AtSurgery | None = None
) -> AgentRun:
    """An agent trained for so many steps, measured on the way."""
    from stable_baselines3.common.callbacks import BaseCallback

    start = agent.num_timesteps
    points: list[tuple[int, float]] = [(start, float(episodes(agent, make).mean()))]

    class Measure(BaseCallback):
        """Measures at even distances."""

        def _on_step(self) -> bool:
            if self.num_timesteps >= points[-1][0] + steps / POINTS and self.num_timesteps < start + steps:
                points.append((self.num_timesteps, float(episodes(agent, make).mean())))
            return True

    agent.learn(steps, callback=Measure(), reset_num_timesteps=False)
    points.append((agent.num_timesteps, float(episodes(agent, make).mean())))
    parameters = sum(p.numel() for p in agent.policy.parameters())
    return AgentRun(task.name, arm, seed, parameters, tuple(points), at)


def episodes(agent: Any, make: Callable[[], Any]) -> Floats:
    """The returns of episodes with seeds of their own, with the agent's best actions."""
    return played([agent], [make], lambda agents, seen, states, starts: _best(agents, seen, states, starts))[0][0]


def at_surgery(task: AgentTask, agent: Any, grown: Any) -> AtSurgery:
    """Both agents in the same episodes, each in its own world, compared at every step."""
    agents, makes = [agent, grown], [task.before, task.after]
    (old, new), same, steps = played(agents, makes, _best)
    sampled = None
    if task.sampled:
        numbers = np.random.default_rng(0)
        _, sampled, _ = played(agents, makes, lambda *args: _drawn(*args, numbers=numbers))
    return AtSurgery(EPISODES, steps, same, sampled, float(old.mean()), float(new.mean()), bool((old == new).all()))


def played(
    agents: list[Any], makes: list[Callable[[], Any]], act: Callable[..., Any]
) -> tuple[list[Floats], bool, int]:
    """Episodes side by side.

    Returns:
        The returns of each agent, whether all did the same at every step, and the number of steps compared.
    """
    worlds = [[make() for _ in range(EPISODES)] for make in makes]
    seen = [np.stack([w.reset(seed=_FIRST + k)[0] for k, w in enumerate(some)]) for some in worlds]
    totals, alive = [np.zeros(EPISODES) for _ in agents], np.ones(EPISODES, dtype=bool)
    states: list[Any] = [None] * len(agents)
    starts, same, steps = np.ones(EPISODES, dtype=bool), True, 0
    while alive.any():
        actions, states = act(agents, seen, states, starts)
        same &= all(np.array_equal(actions[0][alive], other[alive]) for other in actions[1:])
        steps += int(alive.sum())
        starts = np.zeros(EPISODES, dtype=bool)
        still = alive.copy()
        for k in np.flatnonzero(alive):
            for total, some, obs, action in zip(totals, worlds, seen, actions, strict=True):
                obs[k], reward, over, cut, _ = some[k].step(action[k])
                total[k] += float(reward)
                still[k] &= not (over or cut)
        alive = still
    return totals, same, steps


def _best(agents: list[Any], seen: list[Any], states: list[Any], starts: Any) -> tuple[list[Any], list[Any]]:
    found = [a.predict(x, s, starts, deterministic=True) for a, x, s in zip(agents, seen, states, strict=True)]
    return [action for action, _ in found], [state for _, state in found]


def _drawn(
    agents: list[Any], seen: list[Any], states: list[Any], starts: Any, *, numbers: np.random.Generator
) -> tuple[list[Any], list[Any]]:
    """Actions drawn by the same numbers: the first action whose share of the probability, added up, is above one."""
    import torch

    number = numbers.random((EPISODES, 1))
    actions = []
    for agent, obs in zip(agents, seen, strict=True):
        with torch.no_grad():
            shares = agent.policy.get_distribution(torch.as_tensor(obs)).distribution.probs.double().numpy()
        actions.append((shares.cumsum(1) < number * shares.sum(1, keepdims=True)).sum(1))
    return actions, states
