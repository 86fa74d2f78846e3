"""The agents of the experiment on surgery: what each learns first, and what it gets in the middle of its training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from net2net.surgeries import Features


@dataclass(frozen=True)
class AgentTask:
    """An agent and its two worlds.

    Attributes:
        name, title: for the results.
        gets: what the surgery gives it, in words.
        before, after: make the environment before and after the surgery.
        agent: makes an agent for an environment's maker, with the small sizes or the big ones, from a seed.
        request: of `net2net.rl.grow`.
        steps: of the environment before the surgery, and after it.
        sampled: whether actions that are drawn are compared too.
    """

    name: str
    title: str
    gets: str
    before: Callable[[], Any]
    after: Callable[[], Any]
    agent: Callable[[Callable[[], Any], bool, int], Any]
    request: Mapping[str, Any]
    steps: tuple[int, int]
    sampled: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


def agent_tasks(scale: float) -> tuple[AgentTask, ...]:
    """The three agents, with all numbers of steps times `scale`."""
    from net2net.experiments._worlds import acrobot, cart_pole

    def steps(before: int, after: int) -> tuple[int, int]:
        return max(256, round(scale * before)), max(256, round(scale * after))

    every, positions = ("x", "v", "angle", "w"), Features(["x", "angle"], ["x", "v", "angle", "w"])
    third = Features(["left", "right"], ["left", "right", "coast"])
    angles = ["cos 1", "sin 1", "cos 2", "sin 2"]
    return (
        AgentTask(
            "cartpole",
            "CartPole, PPO",
            "the velocities (2 -> 4 observations), a third action, 16 -> 64 units",
            cart_pole((0, 2), False),
            cart_pole(tuple(range(len(every))), True),
            _ppo,
            {"features": positions, "outputs": third, "net_arch": [64, 64]},
            steps(30_000, 30_000),
            sampled=True,
        ),
        AgentTask(
            "masked",
            "CartPole without velocities, RecurrentPPO",
            "an LSTM of 16 -> 32 units, the velocity of the pole (2 -> 3 observations), a third action",
            cart_pole((0, 2), False),
            cart_pole((0, 2, 3), True),
            _recurrent,
            {"features": Features(["x", "angle"], ["x", "angle", "w"]), "outputs": third, "lstm_hidden_size": 32},
            steps(15_000, 15_000),
        ),
        AgentTask(
            "acrobot",
            "Acrobot, DQN",
            "the velocities (4 -> 6 observations), the action without torque, 16 -> 64 units",
            acrobot((0, 1, 2, 3), (0, 2)),
            acrobot((0, 1, 2, 3, 4, 5), (0, 2, 1)),
            _dqn,
            {
                "features": Features(angles, [*angles, "v 1", "v 2"]),
                "outputs": Features(["-1", "1"], ["-1", "1", "0"]),
                "net_arch": [64, 64],
            },
            steps(20_000, 20_000),
        ),
    )


def _ppo(make: Callable[[], Any], big: bool, seed: int) -> Any:
    from stable_baselines3 import PPO

    options: Any = {"n_steps": 64, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 10}
    sizes = [64, 64] if big else [16, 16]
    return PPO(
        "MlpPolicy",
        _several(make),
        learning_rate=1e-3,
        policy_kwargs={"net_arch": sizes},
        seed=seed,
        device="cpu",
        **options,
    )


def _recurrent(make: Callable[[], Any], big: bool, seed: int) -> Any:
    from sb3_contrib import RecurrentPPO

    options: Any = {"n_steps": 64, "batch_size": 256, "gae_lambda": 0.8, "gamma": 0.98, "n_epochs": 5}
    policy = {"net_arch": [16], "lstm_hidden_size": 32 if big else 16, "enable_critic_lstm": True}
    return RecurrentPPO(
        "MlpLstmPolicy", _several(make), learning_rate=1e-3, policy_kwargs=policy, seed=seed, device="cpu", **options
    )


def _dqn(make: Callable[[], Any], big: bool, seed: int) -> Any:
    from stable_baselines3 import DQN

    options: Any = {
        "learning_starts": 500,
        "batch_size": 64,
        "buffer_size": 50_000,
        "train_freq": 4,
        "gradient_steps": 2,
    }
    exploring: Any = {"exploration_fraction": 0.2, "exploration_final_eps": 0.1, "target_update_interval": 250}
    sizes = [64, 64] if big else [16, 16]
    return DQN(
        "MlpPolicy",
        make(),
        learning_rate=1e-3,
        policy_kwargs={"net_arch": sizes},
        seed=seed,
        device="cpu",
        **options,
        **exploring,
    )


def _several(make: Callable[[], Any]) -> Any:
    from stable_baselines3.common.vec_env import DummyVecEnv

    return DummyVecEnv([make] * 8)
