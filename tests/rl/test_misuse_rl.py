"""What can't go on is refused before anything is made, with what works."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from gymnasium import spaces
from gymnasium.wrappers import TransformObservation
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import net2net
from net2net import Features as F
from rl.worlds import SEEN, cart_pole, pendulum

SMALL: dict[str, Any] = {"policy_kwargs": {"net_arch": [6, 5]}, "device": "cpu"}


@pytest.fixture(scope="module")
def agent() -> Any:
    return PPO("MlpPolicy", cart_pole(), n_steps=16, batch_size=16, **SMALL)


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        ({}, net2net.SizeError, r"the observation has the shape \(4,\) and would have \(6,\): say which"),
        ({"features": SEEN[4]}, net2net.SizeError, r"the action has the shape \(2,\) and would have \(3,\)"),
        ({"features": F(4, 5), "outputs": F(2, 3)}, net2net.SizeError, r"\(6,\) in the environment, and .* \(5,\)"),
        ({"features": F(3, 6), "outputs": F(2, 3)}, net2net.SizeError, r"4 places along axis -1; 3 features"),
        ({"features": {"obs": SEEN[4]}, "outputs": F(2, 3)}, net2net.UnknownNameError, r"'obs', the agent observes no"),
        ({"features": 6, "outputs": F(2, 3)}, net2net.OptionError, r"features= is given 6 \(int\); give net2net.Feat"),
        ({"features": F(4, 6, axis=2), "outputs": F(2, 3)}, net2net.SizeError, r"no axis 2 \(0 is that of the batch\)"),
        ({"net_arch": [9]}, net2net.OptionError, r"gives 'mlp_extractor.policy_net' 1 layers, and it has 2"),
        ({"net_arch": [9, 4]}, net2net.SizeError, r"'mlp_extractor.policy_net.2' has 5 units; net_arch asks for 4"),
        ({"net_arch": {"pi": [9, 9]}}, net2net.OptionError, r"keys \['pi'\]; of this agent they are \['pi', 'vf'\]"),
        ({"net_arch": "64"}, net2net.OptionError, r"net_arch is '64' \(str\)"),
        ({"lstm_hidden_size": 9}, net2net.OptionError, r"PPO has no LSTM"),
    ],
)
def test_what_does_not_fit_is_named(agent: Any, request_: dict[str, Any], error: type, message: str) -> None:
    world = (
        {"features": SEEN[4], "outputs": F(2, 3)} if "net_arch" in request_ or "lstm_hidden_size" in request_ else {}
    )
    with pytest.raises(error, match=message):
        net2net.rl.grow(agent, cart_pole(True), **{**world, **request_})


def test_nothing_to_do(agent: Any) -> None:
    with pytest.raises(net2net.OptionError, match="nothing changes"):
        net2net.rl.grow(agent, cart_pole())
    with pytest.raises(net2net.OptionError, match=r"the agent is 3 \(int\)"):
        net2net.rl.grow(3, cart_pole())


def test_an_action_that_stays_keeps_its_range() -> None:
    world, narrower = pendulum(), pendulum()
    narrower.action_space = spaces.Box(np.array([-1, -0.5], "f"), np.array([1, 0.5], "f"))
    with pytest.raises(net2net.OptionError, match=r"action 1 goes from -1 to 1 and would have another range"):
        net2net.rl.grow(A2C("MlpPolicy", world, **SMALL), narrower, net_arch=[9, 9])


def test_noise_that_depends_on_the_units() -> None:
    agent = A2C("MlpPolicy", pendulum(), use_sde=True, **SMALL)
    with pytest.raises(net2net.OptionError, match="use_sde=True"):
        net2net.rl.grow(agent, pendulum(), net_arch=[9, 9])


def test_a_vecnormalize_that_the_agent_has_not(agent: Any) -> None:
    with pytest.raises(net2net.OptionError, match=r"has a VecNormalize and the agent has learned without"):
        net2net.rl.grow(agent, VecNormalize(DummyVecEnv([cart_pole])), net_arch=[9, 9])


def test_a_replay_buffer_that_does_not_fit_is_said_to_be_empty() -> None:
    agent = DQN("MlpPolicy", cart_pole(), learning_starts=20, buffer_size=64, **SMALL).learn(32)
    with pytest.warns(net2net.Net2NetWarning, match=r"replay buffer is empty: it is of 1 environments, and now .* 2"):
        new = net2net.rl.grow(agent, DummyVecEnv([cart_pole, cart_pole]), net_arch=[9, 9])
    assert new.replay_buffer.size() == 0 and agent.replay_buffer.size() == 32


def test_a_feature_that_goes_is_a_constant() -> None:
    stuck = TransformObservation(
        cart_pole(), lambda obs: obs * [1, 0, 1, 1] + [0, 0.5, 0, 0], cart_pole().observation_space
    )
    agent = PPO("MlpPolicy", stuck, n_steps=16, batch_size=16, **SMALL).learn(16)
    less = TransformObservation(cart_pole(), lambda obs: obs[[0, 2, 3]], spaces.Box(-9, 9, (3,), np.float32))
    new = net2net.rl.grow(agent, less, features=F(list("abcd"), list("acd"), constants={"b": 0.5}))
    obs = np.random.default_rng(0).normal(size=(20, 4)).astype("f") * [1, 0, 1, 1] + [0, 0.5, 0, 0]
    assert np.array_equal(
        *(one.predict(x, deterministic=True)[0] for one, x in ((agent, obs), (new, obs[:, [0, 2, 3]])))
    )
    with pytest.raises(net2net.FixedDimensionError, match="'a' of the input 'obs' is live"):
        net2net.rl.grow(agent, less, features=F(list("abcd"), list("bcd"), constants={"a": 0.5}))


def test_without_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "stable_baselines3" or n.startswith("net2net.rl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(net2net, "rl", raising=False)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(net2net.MissingExtraError, match=r"pip install 'net2net\[rl\]'"):
        _ = net2net.rl
