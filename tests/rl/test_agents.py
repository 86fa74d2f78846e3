"""Agents of every kind go on in a changed world as they were: step by step, with all that they have learned."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("stable_baselines3")
pytest.importorskip("sb3_contrib")

from sb3_contrib import RecurrentPPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import net2net
from net2net import Features as F
from rl.worlds import SEEN, cart_pole, pendulum

SMALL: dict[str, Any] = {"device": "cpu", "seed": 0}
Pair = tuple[Any, Any]


def of(sizes: Any, **more: Any) -> dict[str, Any]:
    return {"policy_kwargs": {"net_arch": sizes, **more}, **SMALL}


@cache
def ppo() -> Pair:
    agent = PPO("MlpPolicy", cart_pole(), n_steps=64, batch_size=32, n_epochs=2, **of([9, 6])).learn(128)
    return agent, net2net.rl.grow(agent, cart_pole(True), net_arch=[20, 7], features=SEEN[4], outputs=F(2, 3))


@cache
def a2c() -> Pair:
    agent = A2C("MlpPolicy", VecNormalize(DummyVecEnv([pendulum])), **of({"pi": [9], "vf": [8, 5]})).learn(60)
    wider = {"pi": [20], "vf": [8, 9]}
    return agent, net2net.rl.grow(agent, pendulum(True), net_arch=wider, features=SEEN[3], outputs=F(2, 3))


@cache
def dqn() -> Pair:
    agent = DQN("MlpPolicy", cart_pole(), learning_starts=20, buffer_size=150, target_update_interval=32, **of([9, 6]))
    agent.learn(200)
    outputs = F(["l", "r"], ["r", "stay", "l"])
    return agent, net2net.rl.grow(agent, cart_pole(True), features=SEEN[4], outputs=outputs)


@cache
def sac() -> Pair:
    agent = SAC("MlpPolicy", pendulum(), learning_starts=20, batch_size=16, buffer_size=150, **of([9, 6])).learn(70)
    return agent, net2net.rl.grow(agent, pendulum(True), features=SEEN[3], outputs=F(2, 3))


@cache
def td3() -> Pair:
    noise = NormalActionNoise(np.zeros(2), np.array([0.1, 0.3]))
    options = of({"pi": [9], "qf": [8]})
    agent = TD3("MlpPolicy", pendulum(), learning_starts=20, batch_size=16, action_noise=noise, **options).learn(70)
    wider = {"pi": [20], "qf": [9]}
    return agent, net2net.rl.grow(agent, pendulum(True), net_arch=wider, features=SEEN[3], outputs=F(2, 3))


@cache
def recurrent() -> Pair:
    agent = RecurrentPPO("MlpLstmPolicy", cart_pole(), n_steps=32, n_epochs=2, **of([9], lstm_hidden_size=5)).learn(64)
    return agent, net2net.rl.grow(agent, cart_pole(True), features=SEEN[4], outputs=F(2, 3), lstm_hidden_size=10)


# TD3 goes the way of SAC: it is looked at in the longer sweeps.
TD3_TOO = pytest.param(td3, marks=pytest.mark.sweep)
KINDS: list[Any] = [ppo, a2c, dqn, sac, TD3_TOO, recurrent]


def seen(size: int, count: int = 50, seed: int = 0) -> tuple[Any, Any]:
    """Observations of the new world and of the old."""
    wide = 3 * np.random.default_rng(seed).normal(size=(count, size + 2)).astype(np.float32)
    return wide[:, 1:-1], wide


@pytest.mark.parametrize("made", KINDS)
def test_the_same_episodes_step_by_step(made: Callable[[], Pair]) -> None:
    agent, new = made()
    worlds = [one.get_env().envs[0].unwrapped.spec.id for one in (agent, new)]
    make = cart_pole if worlds[0] == "CartPole-v1" else pendulum
    old_world, new_world = make(), make(True)
    order = [2, 0] if made is dqn else [0, 1]  # numbers of the old actions
    for episode in range(2):
        x, y = old_world.reset(seed=episode)[0], new_world.reset(seed=episode)[0]
        states: list[Any] = [None, None]
        starts, over, steps = np.ones(1, bool), False, 0
        while not over and steps < 60:
            assert np.array_equal(x, y[1:-1])
            actions = []
            for k, (one, obs) in enumerate(((agent, x), (new, y))):
                normaliser = one.get_vec_normalize_env()
                obs = obs if normaliser is None else normaliser.normalize_obs(obs)
                action, states[k] = one.predict(obs, states[k], starts, deterministic=True)
                actions.append(action)
            mine = actions[1][:2] if actions[1].ndim else np.array(order.index(int(actions[1])))
            assert np.allclose(actions[0], mine, atol=1e-6)
            x, _, over, cut, _ = old_world.step(actions[0])
            y = new_world.step(np.append(actions[0], 0.0) if actions[1].ndim else actions[0])[0]
            over, starts, steps = over or cut, np.zeros(1, bool), steps + 1


@pytest.mark.parametrize("made", KINDS)
def test_learning_goes_on(made: Callable[[], Pair]) -> None:
    agent, new = made()
    assert type(new) is type(agent) and (new.num_timesteps, new._n_updates) == (agent.num_timesteps, agent._n_updates)
    before = {key: tensor.clone() for key, tensor in agent.policy.state_dict().items()}
    going = copy.deepcopy(new)
    if made is a2c:  # a copy of a VecNormalize has lost its environment
        going.get_vec_normalize_env().set_venv(DummyVecEnv([lambda: pendulum(True)]))
    going.learn(64, reset_num_timesteps=False)
    assert going.num_timesteps >= agent.num_timesteps + 64 and going._n_updates > agent._n_updates
    assert all(torch.equal(tensor, before[key]) for key, tensor in agent.policy.state_dict().items())
    moved = [(p - q).abs().max() for p, q in zip(going.policy.parameters(), new.policy.parameters(), strict=True)]
    assert all(0 < float(distance) < 1 for distance in moved)


def test_values_and_probabilities_are_as_before() -> None:
    agent, new = ppo()
    narrow, wide = map(torch.from_numpy, seen(4))
    old, now = (one.policy.get_distribution(x).distribution.probs for one, x in ((agent, narrow), (new, wide)))
    assert torch.allclose(old, now[:, :2], atol=2e-6)
    assert torch.allclose(agent.policy.predict_values(narrow), new.policy.predict_values(wide), atol=1e-5)


def test_stochastic_actions_are_drawn_alike_where_there_are_as_many() -> None:
    agent = ppo()[0]
    new = net2net.rl.grow(agent, cart_pole(), net_arch=[11, 6])
    narrow = seen(4, 200)[0]
    drawn = []
    for one in (agent, new):
        torch.manual_seed(3)
        drawn.append(one.predict(narrow)[0])
    assert np.array_equal(*drawn) and 0 < drawn[0].mean() < 1


def test_means_and_spreads_of_continuous_actions() -> None:
    agent, new = a2c()
    narrow, wide = map(torch.from_numpy, seen(3))
    old, now = (one.policy.get_distribution(x).distribution for one, x in ((agent, narrow), (new, wide)))
    assert torch.allclose(old.mean, now.mean[:, :2], atol=1e-5) and torch.equal(old.stddev, now.stddev[:, :2])
    assert not now.mean[:, 2].any() and (now.stddev[:, 2] == 1).all()
    agent, new = sac()
    (mean, log_std, _), (means, log_stds, _) = (
        one.actor.get_action_dist_params(x) for one, x in ((agent, narrow), (new, wide))
    )
    assert torch.allclose(mean, means[:, :2], atol=1e-5) and torch.allclose(log_std, log_stds[:, :2], atol=1e-5)


@pytest.mark.parametrize("made", [sac, TD3_TOO])
def test_critics_and_their_targets(made: Callable[[], Pair]) -> None:
    agent, new = made()
    narrow, wide = map(torch.from_numpy, seen(3))
    actions = torch.rand(50, 3)
    for name in ("critic", "critic_target"):
        for old, now in zip(
            getattr(agent, name)(narrow, actions[:, :2]), getattr(new, name)(wide, actions), strict=True
        ):
            assert torch.allclose(old, now, rtol=1e-5, atol=1e-5)
    assert not torch.equal(agent.critic_target.qf0[0].weight, agent.critic.qf0[0].weight)
    if made is td3:
        assert torch.allclose(agent.actor_target(narrow), new.actor_target(wide)[:, :2], atol=1e-5)


def test_q_values_and_their_target() -> None:
    agent, new = dqn()
    narrow, wide = map(torch.from_numpy, seen(4))
    for name in ("q_net", "q_net_target"):
        old, now = getattr(agent, name)(narrow), getattr(new, name)(wide)
        assert torch.allclose(old, now[:, [2, 0]], rtol=1e-5, atol=1e-5)
    lowest = agent.q_net(torch.from_numpy(agent.replay_buffer.observations[:, 0])).min()
    assert new.q_net(wide)[:, 1].max() <= lowest + 0.1


@pytest.mark.parametrize("made", KINDS)
def test_optimizers_go_on(made: Callable[[], Pair]) -> None:
    agent, new = made()
    owners = ("actor", "critic") if hasattr(agent, "actor") else ("policy",)
    for owner in owners:
        old, now = getattr(agent, owner), getattr(new, owner)
        mine = dict(now.named_parameters())
        for name, parameter in old.named_parameters():
            state = old.optimizer.state.get(parameter)
            if not state:
                continue
            grown = now.optimizer.state[mine[name]]
            moment = "exp_avg" if "exp_avg" in state else "square_avg"
            kept = _old_places(made, name, grown[moment], parameter.shape)
            assert torch.equal(kept, state[moment]), name
            if moment == "exp_avg" and grown[moment].shape != parameter.shape:
                assert grown[moment].norm() == pytest.approx(float(state[moment].norm())), name
        assert now.optimizer.param_groups[0]["params"] == list(mine.values()) or made is dqn


def test_the_rate_of_an_agent_may_be_held() -> None:
    new = net2net.rl.grow(ppo()[0], cart_pole(), net_arch=[24, 24], hold=3, ramp=0)
    before = {name: tensor.clone() for name, tensor in new.policy.state_dict().items()}
    moved = []
    for _ in range(4):
        for parameter in new.policy.parameters():
            parameter.grad = torch.ones_like(parameter)
        new.policy.optimizer.step()
        moved.append(not all(torch.equal(before[name], t) for name, t in new.policy.state_dict().items()))
    assert moved == [False, False, False, True]


def _old_places(made: Any, name: str, tensor: Any, shape: Any) -> Any:
    """The entries that the old agent has: new units are behind, new features at both ends, and DQN's actions turn."""
    for axis, size in enumerate(shape):
        grown = tensor.shape[axis]
        reads = grown == size + 2 and size in (3, 4) and axis == 1
        order = list(range(1, size + 1)) if reads else list(range(size))
        if axis == 1 and "qf" in name and name.endswith("0.weight"):
            order = [1, 2, 3, 5, 6]  # three features between the new ones, two actions
        if made is dqn and axis == 0 and size == 2 and grown == 3:
            order = [2, 0]
        if "lstm" in name and axis == 0:
            order = [5 * 2 * gate + k for gate in range(4) for k in range(5)]
        tensor = tensor.index_select(axis, torch.tensor(order))
    return tensor


def test_states_of_a_recurrent_agent_over_a_sequence() -> None:
    agent, new = recurrent()
    states: list[Any] = [None, None]
    for step in range(30):
        starts = np.full(4, step % 11 == 0)
        for k, (one, obs) in enumerate(zip((agent, new), seen(4, 4, step), strict=True)):
            states[k] = one.predict(obs, states[k], starts, deterministic=True)[1]
        assert all(
            np.allclose(mine[..., :5], theirs, atol=1e-6) for theirs, mine in zip(states[0], states[1], strict=True)
        )


def test_statistics_have_mean_0_and_variance_1_for_what_is_new() -> None:
    old, now = (one.get_vec_normalize_env() for one in a2c())
    assert old is not now and np.array_equal(old.obs_rms.mean, now.obs_rms.mean[1:-1])
    assert np.array_equal(old.obs_rms.var, now.obs_rms.var[1:-1]) and old.obs_rms.count == now.obs_rms.count
    assert now.obs_rms.mean[[0, -1]].tolist() == [0, 0] and now.obs_rms.var[[0, -1]].tolist() == [1, 1]
    assert old.ret_rms.count == now.ret_rms.count and old.ret_rms is not now.ret_rms


def test_statistics_of_one_frame_stand_under_stacked_frames() -> None:
    from net2net.rl._carried import _statistics
    from net2net.rl._world import World

    old = a2c()[0].get_vec_normalize_env().obs_rms
    stacked = F(list("abc"), list("anbc"), frames=4)
    grown = _statistics(old, "", World({"": stacked}, None))
    assert np.array_equal(grown.mean, np.insert(old.mean, 1, 0.0)) and grown.count == old.count


def test_old_transitions_are_told_in_the_new_world() -> None:
    agent, new = dqn()
    old, now = agent.replay_buffer, new.replay_buffer
    assert (now.pos, now.full) == (old.pos, old.full) == (50, True)
    for name in ("observations", "next_observations"):
        assert np.array_equal(getattr(now, name)[..., 1:-1], getattr(old, name))
        assert not getattr(now, name)[..., [0, -1]].any()
    assert np.array_equal(now.actions, np.where(old.actions == 0, 2, 0)) and np.array_equal(now.rewards, old.rewards)


def test_what_belongs_to_no_network() -> None:
    agent, fresh = sac()
    assert torch.equal(agent.log_ent_coef, fresh.log_ent_coef) and fresh.log_ent_coef is not agent.log_ent_coef
    assert (agent.target_entropy, fresh.target_entropy) == (-2.0, -3.0)
    assert fresh.ent_coef_optimizer.state_dict()["state"][0]["step"] == 50


@pytest.mark.sweep
def test_noise_of_new_actions_has_the_mean_size() -> None:
    noise = td3()[1].action_noise
    assert noise._mu.tolist() == [0, 0, 0] and np.allclose(noise._sigma, [0.1, 0.3, 0.2])


def test_a_grown_agent_is_saved_and_loaded(tmp_path: Path) -> None:
    new = ppo()[1]
    new.save(tmp_path / "agent")
    again = PPO.load(tmp_path / "agent", env=cart_pole(True), device="cpu")
    wide = seen(4)[1]
    assert np.array_equal(again.predict(wide, deterministic=True)[0], new.predict(wide, deterministic=True)[0])
