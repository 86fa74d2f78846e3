"""Other inputs and outputs: the student computes what the teacher did, whatever stands in new features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import Features as F
from policies import Frames, Gaussian, Normalised, Recurrent, Tokens, drawn, made

pytestmark = pytest.mark.filterwarnings("error")


def error(reference: Tensor, other: Tensor) -> float:
    return float((reference - other).detach().abs().max() / reference.detach().abs().max())


def mlp(seed: int = 0) -> nn.Module:
    return made(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 2)), seed)


WORLD: dict[str, Any] = {
    "features": {"input": F(["x", "v", "w"], ["new", "w", "x", "also", "v"])},
    "outputs": {"output": F(["left", "right"], ["stay", "right", "left"], start="never")},
}


def test_features_anywhere_and_actions_in_any_order() -> None:
    teacher, x = mlp(), drawn(5, 3)
    growth = net2net.surgery(teacher, x, **WORLD)
    assert growth.verification.passed and growth.verification.exact_in == ("eval", "train")
    assert (growth.student[0].in_features, growth.student[4].out_features) == (5, 3)
    y = 9 * drawn(50, 5, seed=2)
    for mode in (True, False):
        old, new = teacher.train(mode)(y[:, [2, 4, 1]]), growth.student.train(mode)(y)[:, [2, 1]]
        assert error(old, new) <= 1e-10


def test_never_moves_as_little_as_it_says() -> None:
    teacher, x = mlp(), drawn(5, 3)
    growth = net2net.surgery(teacher, x, outputs=WORLD["outputs"])
    (change,) = growth.plan.changes
    share = growth.student(x).softmax(-1)[:, 0].max().item()
    assert 0 < share <= 1e-6
    assert change.summary()["moved"] == pytest.approx(share) and f"{share:.1e} of the probability" in str(growth.plan)


@pytest.mark.parametrize(("start", "value"), [("zero", 0.0), (-3.5, -3.5), ("copy:right", None), ("lowest", None)])
def test_starts(start: str | float, value: float | None) -> None:
    teacher, x = mlp(), drawn(5, 3)
    growth = net2net.surgery(teacher, x, outputs={0: F(["left", "right"], ["left", "stay", "right"], start=start)})
    y = drawn(20, 3, seed=2)
    new, old = growth.student(y)[:, 1], teacher(y)
    if start == "copy:right":
        assert torch.equal(new, old[:, 1])
    else:
        assert new.std() == 0
        assert new[0].item() == pytest.approx(teacher(x).min().item() if value is None else value)


def test_a_value_that_is_new_begins_as_low_as_the_lowest_and_says_so() -> None:
    teacher, x = made(Frames()), drawn(3, 4, 5, 5)
    growth = net2net.surgery(teacher, x, outputs={"q_values": F(3, 4)})
    q = teacher(x)["q_values"]
    assert growth.student(x)["q_values"][:, 3].max() <= q.min() + 1e-12
    assert torch.equal(growth.student(x)["q_values"].argmax(-1), q.argmax(-1))
    assert "lowest" in growth.plan.changes[0].row().how


def test_what_new_entries_begin_as_is_not_guessed() -> None:
    with pytest.raises(net2net.OptionError, match=r"how do the new entries of the output 'output' begin"):
        net2net.surgery(mlp(), drawn(5, 3), outputs={0: F(2, 3)})


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_recurrent_policy_over_a_sequence_with_carried_state(kind: str) -> None:
    teacher = made(Recurrent(kind))
    growth = net2net.surgery(
        teacher,
        (drawn(2, 6, 3),),
        features={"obs": F(["a", "b", "c"], ["b", "new", "a", "c"])},
        outputs={"logits": F(["l", "r"], ["l", "s", "r"])},
    )
    y, mine, theirs = 5 * drawn(2, 18, 4, seed=5), None, None
    for part in y.split(6, 1):
        old, new = teacher(part[..., [2, 0, 3]], mine), growth.student(part, theirs)
        mine, theirs = old["state"], new["state"]
        assert error(old["logits"], new["logits"][..., [0, 2]]) <= 1e-10
        assert error(old["value"], new["value"]) <= 1e-10
        assert error(old["logits"].softmax(-1), new["logits"].softmax(-1)[..., [0, 2]]) <= 1e-5


def test_an_lstm_whose_state_is_given_is_doubled_with_its_state() -> None:
    teacher, x, state = made(Recurrent()), drawn(2, 6, 3), (drawn(1, 2, 5), drawn(1, 2, 5, seed=2))
    both = {f"state.{k}": F(5, 10) for k in (0, 1)}
    student = net2net.surgery(teacher, (x, state), features=both, outputs=both).student
    assert student.core.hidden_size == 10
    mine, theirs = state, tuple(torch.cat([s, drawn(1, 2, 5, seed=7)], -1) for s in state)
    for part in drawn(2, 18, 3, seed=5).split(6, 1):
        old, new = teacher(part, mine), student(part, theirs)
        mine, theirs = old["state"], new["state"]
        assert error(old["logits"], new["logits"]) <= 1e-10 and error(mine[1], theirs[1][..., :5]) <= 1e-10
    rows = student.core.weight_hh_l0.reshape(4, 10, 10)
    assert not rows[:, :5, 5:].any() and rows[:, 5:].all()  # block-triangular, gate by gate


def test_stacked_frames_of_images() -> None:
    teacher, x = made(Frames()), drawn(3, 4, 5, 5)
    growth = net2net.surgery(teacher, x, features={"frames": F(1, 2, frames=4, axis=1)})
    y = drawn(3, 8, 5, 5, seed=3)
    assert error(teacher(y[:, ::2])["q_values"], growth.student(y)["q_values"]) <= 1e-10


@pytest.mark.parametrize("flat", [True, False])
def test_stacked_frames_of_features(flat: bool) -> None:
    class Stacked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(6, 5)

        def forward(self, obs: Tensor) -> Tensor:
            return torch.tanh(self.first(obs if flat else obs.flatten(1)))

    teacher, x = made(Stacked()), drawn(4, 6) if flat else drawn(4, 3, 2)
    features = {"obs": F(["x", "v"], ["v", "n", "x"], frames=3 if flat else 1)}
    student = net2net.surgery(teacher, x, features=features).student
    y = drawn(4, 3, 3, seed=3)
    old = y[:, :, [2, 0]]
    assert error(teacher(old.flatten(1) if flat else old), student(y.flatten(1) if flat else y)) <= 1e-10


def test_normalisers_go_on_with_mean_0_and_variance_1() -> None:
    teacher = made(Normalised())
    student = net2net.surgery(teacher, drawn(5, 3), features={"obs": F(["a", "b", "c"], ["a", "n", "b", "c"])}).student
    assert (student.mean[1], student.var[1]) == (0, 1)
    y = drawn(9, 4, seed=3)
    assert error(teacher(y[:, [0, 2, 3]]), student(y)) <= 1e-10


class WithNorm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first = nn.BatchNorm1d(3), nn.Linear(3, 4)

    def forward(self, obs: Tensor) -> Tensor:
        return torch.tanh(self.first(self.norm(obs)))


def test_batch_norm_goes_on_in_both_modes() -> None:
    growth = net2net.surgery(made(WithNorm()), drawn(8, 3), features={"obs": F(3, 5)})
    assert growth.verification.exact_in == ("eval", "train") and growth.student.norm.num_features == 5
    assert (growth.student.norm.running_mean[3:] == 0).all() and (growth.student.norm.running_var[3:] == 1).all()


def test_gaussian_heads_begin_apart() -> None:
    teacher, x = made(Gaussian()), drawn(5, 3)
    outputs = {0: F(2, 3, start="zero"), 1: F(2, 3, start=-1.0)}
    mean, log_std = net2net.surgery(teacher, x, outputs=outputs).student(x)
    assert not mean[:, 2].any() and (log_std[:, 2] == -1).all()
    assert error(teacher(x)[0], mean[:, :2]) <= 1e-10


def test_an_axis_that_two_outputs_have_changes_in_both_or_in_none() -> None:
    with pytest.raises(net2net.FixedDimensionError, match=r"the output '1'.*ask for it too, in outputs="):
        net2net.surgery(made(Gaussian()), drawn(5, 3), outputs={0: F(2, 3, start="zero")})


def test_classes_are_added_wider_and_deeper_in_one_proof() -> None:
    teacher, x = mlp(), drawn(6, 3)
    growth = net2net.surgery(
        teacher, x, features={0: F(3, 5)}, outputs={0: F(2, 4, start="copy:1")}, sizes={"0": 11}, where={"2": 1}
    )
    assert [c.change for step in growth.plan.steps for c in step.changes] == [
        "deepening",
        "widening",
        "surgery",
        "surgery",
    ]
    y = drawn(6, 5, seed=4)
    assert error(teacher(y[:, :3]), growth.student(y)[:, :2]) <= 1e-10
    again = net2net.replay(growth.plan, mlp(3), x)
    assert error(mlp(3)(y[:, :3]), again.student(y)[:, :2]) <= 1e-10


@pytest.mark.parametrize(("tied", "bias", "start"), [(False, True, None), (True, True, None), (True, False, "mean")])
def test_tokens(tied: bool, bias: bool, start: str | None) -> None:
    teacher, x = made(Tokens(tied=tied, bias=bias)), torch.randint(0, 7, (3, 5), generator=torch.Generator())
    names = list("abcdefg")
    order = ["n", *names[::-1], "m"]
    growth = net2net.surgery(
        teacher, x, features={"ids": F(names, order)}, outputs={"logits": F(names, order, start=start)}
    )
    student = growth.student
    assert (student.head.weight is student.embed.weight) == tied and student.embed.num_embeddings == 9
    assert error(teacher(x)["logits"], student(7 - x)["logits"][..., 1:8].flip(-1)) <= 1e-10
    assert torch.equal(growth.student_inputs[0].args[0], 7 - x)


def test_tied_tokens_can_begin_at_never_with_a_bias_only() -> None:
    x, vocabulary = torch.arange(7)[None], F(7, 9)
    with pytest.raises(net2net.FixedDimensionError, match=r"without a bias.*copy:NAME"):
        net2net.surgery(
            made(Tokens(tied=True, bias=False)), x, features={"ids": vocabulary}, outputs={"logits": vocabulary}
        )


def test_tokens_that_a_head_shares_change_in_both() -> None:
    with pytest.raises(net2net.FixedDimensionError, match=r"output 'logits'.*in outputs="):
        net2net.surgery(made(Tokens(tied=True)), torch.arange(7)[None], features={"ids": F(7, 9)})


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.eyes, self.arm, self.head = nn.Conv2d(3, 4, 3), nn.Linear(2, 5), nn.Linear(9, 2)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return self.head(torch.tanh(torch.cat([self.eyes(obs["image"]).mean((2, 3)), self.arm(obs["arm"])], -1)))


def test_observations_that_are_a_dict_have_names_with_dots() -> None:
    teacher, obs = made(Named()), {"image": drawn(2, 3, 5, 5), "arm": drawn(2, 2)}
    features = {"obs.arm": F(2, 3), "obs.image": F(["r", "g", "b"], ["depth", "r", "g", "b"], axis=1)}
    student = net2net.surgery(teacher, (obs,), features=features).student
    y = {"image": drawn(2, 4, 5, 5, seed=2), "arm": drawn(2, 3, seed=2)}
    assert error(teacher({"image": y["image"][:, 1:], "arm": y["arm"][:, :2]}), student(y)) <= 1e-10


def test_weight_norm_and_half_precision_storage_are_exact_too() -> None:
    teacher = mlp().float()
    torch.nn.utils.parametrizations.weight_norm(teacher[0])
    assert net2net.surgery(teacher, drawn(5, 3).float(), **WORLD).verification.passed


def test_a_plan_is_replayed_bit_by_bit(tmp_path: Path) -> None:
    x = drawn(5, 3)
    x[:, 1] = 0.7
    request: dict[str, Any] = {"features": {"obs": F(["a", "b", "c"], ["c", "n", "a"], constants={"b": 0.7})}}
    growth = net2net.surgery(made(Normalised()), x, **request)
    growth.plan.save(tmp_path / "plan")
    plan = net2net.Plan.load(tmp_path / "plan")
    assert str(plan) == str(growth.plan) and plan.tensors == growth.plan.tensors
    other = made(Normalised(), 5)
    other.mean.add_(0.3)
    direct = net2net.surgery(other, x, **request).student.state_dict()
    for again in (net2net.replay(plan, other, x), growth.replay(other)):
        assert again.verification.passed
        assert all(torch.equal(tensor, direct[name]) for name, tensor in again.student.state_dict().items())


def test_a_plan_of_another_network_is_refused() -> None:
    plan = net2net.surgery(mlp(), drawn(5, 3), **WORLD).plan
    with pytest.raises(net2net.StudentMismatchError, match="isn't one for"):
        net2net.replay(plan, made(nn.Sequential(nn.Linear(4, 2))), drawn(5, 4))


def test_two_surgeries_are_one_plan() -> None:
    teacher, x = mlp(), drawn(5, 3)
    first = net2net.surgery(teacher, x, **WORLD)
    second = net2net.surgery(first.student, first.student_inputs[0].args, features={0: F(5, 6)})
    growth = net2net.replay(second.plan.after(first.plan), teacher, x)
    assert growth.verification.passed
    assert all(torch.equal(a, b) for a, b in zip(growth.student.parameters(), second.student.parameters(), strict=True))


def test_the_optimizer_goes_on_with_state_in_the_right_places() -> None:
    teacher = made(Recurrent())
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-2)
    x = drawn(2, 6, 3)
    for _ in range(3):
        optimizer.zero_grad()
        result = teacher(x)
        (result["logits"].square().sum() + result["value"].square().sum()).backward()
        optimizer.step()
    growth = net2net.surgery(teacher, (x,), features={"obs": F(list("abc"), list("cnba"))}, outputs={"logits": F(2, 3)})
    state = growth.optimizer(optimizer).state
    for name, axis, order, new in (("core.weight_ih_l0", 1, [3, 2, 0], 1), ("policy.weight", 0, [0, 1], 2)):
        before = optimizer.state[teacher.get_parameter(name)]
        after = state[growth.student.get_parameter(name)]
        for moment in ("exp_avg", "exp_avg_sq"):
            kept = after[moment].index_select(axis, torch.tensor(order))
            assert torch.equal(kept, before[moment])
        assert not after["exp_avg"].select(axis, new).any()
    new = growth.optimizer(optimizer, ramp=0)
    student_loss = growth.student(drawn(2, 6, 4))["logits"].square().sum()
    student_loss.backward()
    new.step()
    assert growth.student.core.weight_ih_l0[:, 1].any()
