"""The kinds of policies that people have."""

from __future__ import annotations

import pytest
import torch

import net2net
from net2net import Features as F
from policies import ActorCritic, Cell, Entities, Squashed, TwinCritics, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


def error(reference: torch.Tensor, other: torch.Tensor) -> float:
    return float((reference - other).detach().abs().max() / reference.detach().abs().max())


def test_entities_that_attend_to_each_other() -> None:
    teacher, x = made(Entities()), drawn(2, 6, 3)
    x[..., 1] = 0.7
    features = {"entities": F(["a", "b", "c"], ["c", "n", "a"], constants={"b": 0.7})}
    student = net2net.surgery(teacher, x, features=features, outputs={"action_logits": F(4, 5)}).student
    y = drawn(2, 9, 3, seed=7)
    old = torch.stack([y[..., 2], torch.full((2, 9), 0.7, dtype=torch.float64), y[..., 0]], -1)
    assert error(teacher(old)["action_logits"], student(y)["action_logits"][:, :4]) <= 1e-10


def test_one_step_of_a_core_with_a_bigger_state() -> None:
    teacher, state = made(Cell()), (drawn(2, 5), drawn(2, 5, seed=3))
    both = {"state.0": F(5, 9), "state.1": F(5, 9)}
    student = net2net.surgery(
        teacher, (drawn(2, 3), state), features={"obs": F(3, 4), **both}, outputs={"logits": F(2, 3), **both}
    ).student
    assert not student.policy.weight[:, 5:].any() and not student.value.weight[:, 5:].any()  # both heads read the core
    mine, theirs = state, tuple(torch.cat([s, drawn(2, 4, seed=7)], -1) for s in state)
    for step in range(5):
        y = drawn(2, 4, seed=step)
        old, new = teacher(y[:, :3], mine), student(y, theirs)
        mine, theirs = old["state"], new["state"]
        assert error(old["logits"], new["logits"][:, :2]) <= 1e-10 and error(old["value"], new["value"]) <= 1e-10


def test_squashed_actions_with_a_range() -> None:
    teacher, x = made(Squashed()), drawn(4, 3)
    outputs = {
        "action": F(["l", "r"], ["l", "m", "r"], start="zero"),
        "log_std": F(["l", "r"], ["l", "m", "r"], start=-2.0),
    }
    student = net2net.surgery(teacher, x, outputs=outputs).student
    assert (student.scale[1], student.shift[1]) == (1, 0)
    old, new = teacher(x), student(x)
    assert not new["action"][:, 1].any() and (new["log_std"][:, 1] == -2).all()
    assert all(error(old[name], new[name][:, [0, 2]]) <= 1e-10 for name in old)


def test_critics_get_the_features_and_the_actions() -> None:
    teacher = made(TwinCritics())
    features = {"obs": F(3, 4), "action": F(["l", "r"], ["l", "m", "r"])}
    student = net2net.surgery(teacher, (drawn(4, 3), drawn(4, 2)), features=features).student
    obs, action = drawn(4, 4, seed=3), drawn(4, 3, seed=4)
    for old, new in zip(teacher(obs[:, :3], action[:, [0, 2]]), student(obs, action), strict=True):
        assert error(old, new) <= 1e-10


def test_outputs_of_other_methods_have_their_names_in_front() -> None:
    teacher, x = made(ActorCritic()), drawn(4, 3)
    outputs = {0: F(2, 3, start="never"), 1: F(3, 4, start=0.5), "values.0": F(3, 4, start=0.5)}
    growth = net2net.surgery(teacher, x, features={"obs": F(3, 4)}, outputs=outputs, methods=["values"])
    y = drawn(4, 4, seed=3)
    assert error(teacher.values(y[:, :3])[0], growth.student.values(y)[0][:, :3]) <= 1e-10
    assert (growth.student(y)[1][:, 3] == 0.5).all()
    with pytest.raises(net2net.FixedDimensionError, match=r"the output 'values\.0'"):
        net2net.surgery(teacher, x, outputs={1: F(3, 4, start=0.5)}, methods=["values"])


def test_several_examples_are_one_surgery() -> None:
    teacher = made(ActorCritic())
    growth = net2net.surgery(
        teacher, [drawn(4, 3), drawn(1, 3)], features={0: F(3, 4)}, outputs={1: F(3, 4, start=0.0)}
    )
    assert {key.split("/")[1] for key in growth.verification.errors} >= {"given 1", "given 2"}
    assert [one.args[0].shape for one in growth.student_inputs] == [(4, 4), (1, 4)]
