"""The experiment on surgery: its worlds, how two agents are compared, what is kept, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from net2net.errors import OptionError
from net2net.experiments._surgery_report import markdown, outcomes, sentences, write_surgery
from net2net.experiments._surgery_results import ARMS, AgentRun, AtSurgery, SurgeryResults, add, begin, read_surgery

AT = AtSurgery(20, 900, True, True, 40.0, 40.0, True)
SETTINGS = {"experiment": "surgery", "budget": "smoke", "steps": {"cartpole": [100, 100]}}


def run(arm: str, seed: int, end: float) -> AgentRun:
    start = 0 if arm in ("before", "scratch") else 100
    length = 200 if arm == "scratch" else 100
    points = tuple((start + k * length // 4, end * (k + 1) / 5) for k in range(5))
    return AgentRun("cartpole", arm, seed, 10, points, AT if arm == "grown" else None)


def results(*seeds: int, **ends: float) -> SurgeryResults:
    runs = tuple(run(arm, seed, ends.get(arm, 100.0) + seed) for seed in seeds for arm in ARMS)
    return SurgeryResults(SETTINGS, runs)


def test_scores_are_means_of_three_points_and_scratch_has_two() -> None:
    (one,) = outcomes(results(1, 2, grown=400.0, continued=50.0, scratch=300.0))
    assert one.grown.mean == pytest.approx((401 + 402) / 2 * (3 + 4 + 5) / 15)
    assert one.scratch_equal.mean == pytest.approx((301 + 302) / 2 * (1 + 2 + 3) / 15)  # up to step 100
    assert one.over_continued.mean == pytest.approx(350 * 12 / 15) and one.over_continued.sign == 1


def test_sentences_say_what_happened_whichever_way_it_falls() -> None:
    found = " ".join(sentences(outcomes(results(1, 2, grown=400.0, continued=50.0, scratch=900.0))))
    assert "the same action at each of 1,800 steps of 40 episodes, and so with actions drawn" in found
    assert "above (+280 ± 0) the agent that trained on as it was" in found
    assert "below (\N{MINUS SIGN}400 ± 0) one from scratch with the steps before" in found
    assert "Not run yet: CartPole, RecurrentPPO; Acrobot, DQN." in found
    odd = results(1)
    changed = tuple(replace(r, at=replace(AT, same=False, sampled=False)) if r.at else r for r in odd.runs)
    found = " ".join(sentences(outcomes(replace(odd, runs=changed))))
    assert "NOT the same at" in found and "not so with actions drawn" in found and "one seed" in found


def test_a_seed_counts_when_all_of_its_arms_are_there(tmp_path: Path) -> None:
    begin(tmp_path / "results.jsonl", SETTINGS)
    add(tmp_path / "results.jsonl", list(results(1, 2).runs[:-1]))
    with open(tmp_path / "results.jsonl", "a") as stream:
        stream.write('{"task": "cart')  # cut off
    found = begin(tmp_path / "results.jsonl", SETTINGS)
    assert found.seeds("cartpole") == [1] and found.runs == results(1, 2).runs[:-1]
    add(tmp_path / "results.jsonl", [results(1, 2).runs[-1]])
    assert read_surgery(tmp_path / "results.jsonl").seeds("cartpole") == [1, 2]
    with pytest.raises(OptionError, match="results of other settings"):
        begin(tmp_path / "results.jsonl", {**SETTINGS, "budget": "cpu"})
    (tmp_path / "other.jsonl").write_text('{"experiment": "wider"}\n')
    with pytest.raises(OptionError, match="not a results file of 'surgery'"):
        read_surgery(tmp_path / "other.jsonl")


def test_the_files(tmp_path: Path) -> None:
    report = write_surgery(results(1), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"table.md", "summary.json", "returns.svg"}
    assert json.loads((tmp_path / "summary.json").read_text())["agents"][0]["grown"]["half"] is None
    assert "CartPole, PPO" in report.text() and (tmp_path / "table.md").read_text() == markdown(outcomes(results(1)))
    write_surgery(SurgeryResults(SETTINGS, ()), tmp_path)
    assert "Not run yet: CartPole, PPO" in (tmp_path / "table.md").read_text()


class Always:
    """An agent of one action."""

    def __init__(self, action: int) -> None:
        self.number, self.policy = action, self

    def predict(self, obs: Any, state: Any, starts: Any, deterministic: bool) -> tuple[Any, Any]:
        assert deterministic and (starts.all() if state is None else not starts.any())
        return np.full(len(obs), self.number), 1


@pytest.fixture(name="worlds")
def _worlds() -> Any:
    pytest.importorskip("gymnasium")
    from net2net.experiments import _worlds

    return _worlds


def test_worlds_show_less_and_coasting_is_no_push(worlds: Any) -> None:
    small, big = worlds.cart_pole((0, 2), False)(), worlds.cart_pole((0, 1, 2, 3), True)()
    x, y = small.reset(seed=3)[0], big.reset(seed=3)[0]
    assert np.array_equal(x, y[[0, 2]]) and (small.action_space.n, big.action_space.n) == (2, 3)
    speed = y[1]
    assert big.step(2)[0][1] == pytest.approx(speed, abs=0.02) and big.step(0)[0][1] < speed - 0.1
    torques = worlds.acrobot((0, 1), (0, 2, 1))()
    assert torques.action_space.n == 3 and torques.env.action(2) == 1 and torques.reset(seed=0)[0].shape == (2,)


def test_agents_are_compared_at_every_step(worlds: Any) -> None:
    pytest.importorskip("stable_baselines3")
    from net2net.experiments._surgery_runs import EPISODES, _best, played

    makes = [worlds.cart_pole((0, 2), False), worlds.cart_pole((0, 1, 2, 3), True)]
    (one, other), same, steps = played([Always(1), Always(1)], makes, _best)
    assert same and np.array_equal(one, other) and steps == one.sum() and len(one) == EPISODES
    (one, other), same, _ = played([Always(1), Always(0)], makes, _best)
    assert not same


@pytest.mark.sweep
@pytest.mark.parametrize("name", ["cartpole", "masked", "acrobot"])
def test_a_whole_run(tmp_path: Path, name: str) -> None:
    pytest.importorskip("sb3_contrib")
    from net2net.experiments._surgery import operate

    found = operate(tmp_path, seeds=[1], steps=256, names=[name])
    assert found.seeds(name) == [1] and found == operate(tmp_path, seeds=[1], steps=256, names=[name])
    at = found.of(name, "grown")[1].at
    assert at is not None and at.same and at.equal and at.sampled in (None, True) and at.before == at.after


def test_what_is_asked_for_is_known(tmp_path: Path) -> None:
    pytest.importorskip("sb3_contrib")
    from net2net.experiments._surgery import operate

    with pytest.raises(OptionError, match="no budget 'huge'"):
        operate(tmp_path, seeds=[1], budget="huge")
    with pytest.raises(OptionError, match="no agent 'pong'"):
        operate(tmp_path, seeds=[1], names=["pong"])
