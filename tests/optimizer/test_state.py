"""What the student's optimizer has: its class, options, groups and state, and new entries that don't leap."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net import training
from net2net.optimizer import _rules, has_ended
from support import X, from_zoo, mlp, refused, repeatable, same, trained

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")


def stepped(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 5, x: Tensor = X) -> None:
    for k in range(steps):
        optimizer.zero_grad()
        (model(x * (1 + 0.1 * k)) - 1).square().mean().backward()
        optimizer.step()


SPLIT = {"how": "split", "shares": "even"}
ALL: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.01, "momentum": 0.9, "nesterov": True, "maximize": False},
    "Adam": {"amsgrad": True, "foreach": True},
    "AdamW": {"fused": True},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "RMSprop": {"centered": True, "momentum": 0.5},
    "Adagrad": {"lr_decay": 0.1},
    "Adadelta": {},
    "Adafactor": {},
    "ASGD": {},
}


@pytest.mark.parametrize("options", [{}, SPLIT, {"how": "pair"}, {"how": "random_pad"}])
@pytest.mark.parametrize("name", ALL)
def test_every_optimizer_of_torch_goes_on(name: str, options: dict[str, Any]) -> None:
    teacher = mlp()
    optimizer = getattr(torch.optim, name)(teacher.parameters(), **ALL[name])
    stepped(teacher, optimizer)
    before = copy.deepcopy(optimizer.state_dict())
    growth = net2net.widen(teacher, 2.0, X, **options)
    new = growth.optimizer(optimizer)
    assert type(new) is type(optimizer) and new.defaults == optimizer.defaults
    assert [g.keys() - {"ramp_step"} for g in new.param_groups] == [g.keys() for g in optimizer.param_groups]
    for group, old in zip(new.param_groups, optimizer.param_groups, strict=True):
        assert all(group[key] == old[key] for key in old if key != "params")
        assert len(group["params"]) == len(old["params"])
    for (n, p), q in zip(growth.student.named_parameters(), teacher.parameters(), strict=True):
        assert new.state[p].keys() == optimizer.state[q].keys(), n
        for key, value in new.state[p].items():
            theirs = optimizer.state[q][key]
            assert value.dtype == theirs.dtype and value.isfinite().all(), (n, key)
            assert value is not theirs and value.dim() == theirs.dim()
            if value.dim() == 0:
                assert torch.equal(value, theirs)
    stepped(growth.student, new)
    assert all(p.isfinite().all() for p in growth.student.parameters())
    after = optimizer.state_dict()
    assert all(torch.equal(after["state"][i][k], v) for i, s in before["state"].items() for k, v in s.items())


def test_muon() -> None:
    teacher = mlp()
    matrices = [p for p in teacher.parameters() if p.dim() == 2]
    optimizer = torch.optim.Muon(matrices, lr=0.01)
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, 2.0, X, **SPLIT)
    new = growth.optimizer(optimizer)
    assert [p.dim() for p in new.param_groups[0]["params"]] == [2, 2, 2]
    moment = new.state[growth.student[2].weight]["momentum_buffer"]
    assert same(moment, optimizer.state[teacher[2].weight]["momentum_buffer"].repeat(2, 2) / 2)


def test_the_state_of_copies_by_hand() -> None:
    """Rows of the first layer are shared out, columns of the second are not: m by the share, v by its square."""
    teacher = mlp()
    optimizer = torch.optim.Adam(teacher.parameters())
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, {"0": 13}, X, how="split")
    source = growth.plan.tensors["0.weight"].axes[0].source
    shares = torch.from_numpy(growth.plan.tensors["2.weight"].axes[1].factor)
    old, new = optimizer.state, growth.optimizer(optimizer).state
    first, second = growth.student[0].weight, growth.student[2].weight
    m, v = old[teacher[0].weight]["exp_avg"][source], old[teacher[0].weight]["exp_avg_sq"][source]
    assert same(new[first]["exp_avg"], shares[:, None] * m, 1e-18)
    assert same(new[first]["exp_avg_sq"], shares[:, None] ** 2 * v, 1e-18)
    assert torch.equal(new[second]["exp_avg"], old[teacher[2].weight]["exp_avg"][:, source])
    assert torch.equal(new[second]["exp_avg_sq"], old[teacher[2].weight]["exp_avg_sq"][:, source])


def test_the_state_of_new_units_by_hand() -> None:
    teacher = mlp()
    optimizer = torch.optim.Adam(teacher.parameters())
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, {"0": 11, "2": 9}, X)
    old = optimizer.state[teacher[2].weight]
    new = growth.optimizer(optimizer, ramp=0).state[growth.student[2].weight]
    v = old["exp_avg_sq"]
    expected = torch.zeros(9, 11, dtype=torch.float64)
    expected[:6, :8] = v
    expected[:6, 8:] = 2 * v.mean(1, keepdim=True)
    expected[6:, :8] = 0.02 * v.mean(0, keepdim=True)  # into silent units: their gradient is 0 at first
    expected[6:, 8:] = 0.02 * v.mean()
    assert same(new["exp_avg_sq"], expected, 1e-18)
    assert torch.equal(new["exp_avg"][:6, :8], old["exp_avg"])
    assert not new["exp_avg"][6:].any() and not new["exp_avg"][:, 8:].any()
    ramped = growth.optimizer(optimizer).state[growth.student[2].weight]["exp_avg_sq"]
    assert same(ramped[:6, :8], v, 1e-18)
    assert same(ramped[:6, 8:], expected[:6, 8:] / 20, 1e-18) and same(ramped[6:], expected[6:] / 20, 1e-18)
    pairs = net2net.widen(teacher, {"0": 12, "2": 10}, X, how="pair")  # these have gradients at once
    new = pairs.optimizer(optimizer, ramp=0).state[pairs.student[2].weight]
    assert same(new["exp_avg_sq"][6:, :8], 2 * v.mean(0, keepdim=True).expand(4, 8), 1e-18)


def test_a_rescaled_norm() -> None:
    """The gain is multiplied by c: its gradient is divided by c."""
    teacher, x = from_zoo("llama")
    optimizer = torch.optim.Adam(teacher.parameters())
    teacher(**x).square().mean().backward()
    optimizer.step()
    growth = net2net.widen(teacher, 1.5, x, how="zero_out")
    name, plan = next((n, t) for n, t in growth.plan.tensors.items() if t.scale != 1.0)
    old, new = teacher.get_parameter(name), growth.student.get_parameter(name)
    states = optimizer.state[old], growth.optimizer(optimizer).state[new]
    size = len(old)
    assert same(states[1]["exp_avg"][:size], states[0]["exp_avg"] / plan.scale, 1e-15)
    assert same(states[1]["exp_avg_sq"][:size], states[0]["exp_avg_sq"] / plan.scale**2, 1e-15)


def test_adafactor_with_rank_one_moments_is_exact() -> None:
    teacher = mlp()
    optimizer = torch.optim.Adafactor(teacher.parameters())
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, 2.0, X, how="split")
    new = growth.optimizer(optimizer)
    tensor = growth.plan.tensors["2.weight"]
    rows, columns = tensor.axes
    old = optimizer.state[teacher[2].weight]
    v = old["row_var"] @ old["col_var"] / old["row_var"].mean()
    grown = v[rows.source][:, columns.source] * torch.from_numpy(rows.gradient)[:, None] ** 2
    state = new.state[growth.student[2].weight]
    assert same(state["row_var"], grown.mean(1, keepdim=True), 1e-15)
    assert same(state["col_var"], grown.mean(0, keepdim=True), 1e-15)


def test_an_average_of_weights_goes_along_with_the_weights() -> None:
    teacher = mlp()
    optimizer = torch.optim.ASGD(teacher.parameters(), t0=0.0)
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, {"0": 16}, X, **SPLIT)
    new = growth.optimizer(optimizer)
    average = new.state[growth.student[2].weight]["ax"]
    assert same(average, optimizer.state[teacher[2].weight]["ax"].repeat(1, 2) / 2)


class Lion(torch.optim.Optimizer):
    """Sign of an interpolated momentum; one mean of gradients for each parameter."""

    def __init__(self, params: Any, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.99)) -> None:
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.sub_(group["lr"] * m.lerp(p.grad, 1 - group["betas"][0]).sign())
                m.lerp_(p.grad, 1 - group["betas"][1])


class Own(Lion):
    """Keeps something that nobody has said anything about."""

    def step(self) -> None:
        super().step()
        for p in self.param_groups[0]["params"]:
            self.state[p]["secret"] = torch.ones_like(p)


def test_an_optimizer_of_others_needs_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rules, "_RULES", dict(_rules._RULES))
    teacher = mlp()
    optimizer = Lion(teacher.parameters(), lr=1e-3)
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, 2.0, X, **SPLIT)
    refused(net2net.OptionError, lambda: growth.optimizer(optimizer), "Lion", "register_optimizer(Lion")
    rates = {"lr": 0.0}
    net2net.register_optimizer(Lion, {"exp_avg": "first moment"}, lambda scales, group: {"lr": scales.weight, **rates})
    rates.clear()
    new = growth.optimizer(optimizer, rates="trajectory")
    assert type(new) is Lion
    for _ in range(20):
        stepped(teacher, optimizer, 1)
        stepped(growth.student, new, 1)
        assert same(growth.student(X), teacher(X), 1e-10)
    secret = Own(teacher.parameters())
    stepped(teacher, secret)
    refused(net2net.OptionError, lambda: growth.optimizer(secret), "Own", "'secret'", "would be lost")
    refused(net2net.OptionError, lambda: net2net.register_optimizer(Lion, {"m": "momentum"}), "first moment", "'m'")


def test_groups_stay_groups() -> None:
    teacher = mlp()
    weights = [p for p in teacher.parameters() if p.dim() == 2]
    biases = [p for p in teacher.parameters() if p.dim() == 1]
    groups = [{"params": biases[::-1], "lr": 0.1}, {"params": weights, "weight_decay": 0.5}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    growth = net2net.grow(teacher, X, sizes=2.0, where={"0": 1})
    new = growth.optimizer(optimizer, ramp=0)
    first, second = (g["params"] for g in new.param_groups)
    assert [p.dim() for p in first] == [1] * 4 and [p.dim() for p in second] == [2] * 4
    assert [g["lr"] for g in new.param_groups] == [0.1, 0.01]
    assert [g["weight_decay"] for g in new.param_groups] == [0.01, 0.5]
    assert first[0] is list(growth.student.parameters())[-1]
    assert set(first + second) == set(growth.student.parameters())
    assert new.state_dict()["state"] == {}


def test_names_and_order_suit_an_optimizer_made_anew() -> None:
    teacher, x = from_zoo("llama")
    optimizer = torch.optim.AdamW(teacher.named_parameters())
    teacher(**x).square().mean().backward()
    optimizer.step()
    growth = net2net.deepen(teacher, 2.0, x)
    new = growth.optimizer(optimizer)
    fresh = torch.optim.AdamW(growth.student.named_parameters())
    assert new.param_groups[0]["param_names"] == fresh.param_groups[0]["param_names"]
    fresh.load_state_dict(new.state_dict())
    for p in growth.student.parameters():
        assert torch.equal(fresh.state[p]["exp_avg"], new.state[p]["exp_avg"])


def test_frozen_absent_and_fresh_parameters() -> None:
    teacher = mlp()
    teacher[0].weight.requires_grad_(False)
    optimizer = torch.optim.SGD([*teacher[0].parameters(), *teacher[2].parameters()], lr=0.1, momentum=0.9)
    stepped(teacher, optimizer)
    growth = net2net.widen(teacher, 2.0, X)
    new = growth.optimizer(optimizer)
    assert len(new.param_groups[0]["params"]) == 4
    assert growth.student[0].weight not in new.state
    assert new.state[growth.student[0].bias]["momentum_buffer"].shape == (16,)


def test_state_in_float32_for_weights_in_bfloat16() -> None:
    teacher = mlp().bfloat16()
    optimizer = torch.optim.AdamW(teacher.parameters(), capturable=False)
    for p in teacher.parameters():
        state = {"exp_avg": torch.randn(p.shape), "exp_avg_sq": torch.rand(p.shape), "step": torch.tensor(7.0)}
        optimizer.state[p] = state
    growth = net2net.widen(teacher, {"0": 16}, X.bfloat16(), **SPLIT)
    new = growth.optimizer(optimizer).state[growth.student[0].weight]
    assert new["exp_avg"].dtype == torch.float32 and new["step"] == 7.0
    assert same(new["exp_avg"], optimizer.state[teacher[0].weight]["exp_avg"].repeat(2, 1) / 2, 1e-7)


def test_rates_by_name() -> None:
    teacher = mlp()
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=0.01)
    wider, deeper = net2net.widen(teacher, 2.0, X), net2net.deepen(teacher, {"0": 1}, X)
    assert [g["lr"] for g in wider.param_groups(optimizer, "paper")] == [0.001]
    refused(net2net.OptionError, lambda: wider.optimizer(optimizer, rates="boost"), "new as a whole", "'keep'")
    old, new = sorted(deeper.param_groups(optimizer, "boost"), key=lambda g: g["lr"])
    assert new["lr"] == pytest.approx(0.013) and old["lr"] == 0.01
    assert len(new["params"]) == 2 and len(old["params"]) == 6
    refused(net2net.OptionError, lambda: wider.optimizer(optimizer, rates="faster"), "'faster'", "trajectory")
    by_width = {
        id(p): g["lr"] for g in net2net.widen(teacher, 4.0, X).param_groups(optimizer, "width") for p in g["params"]
    }
    assert sorted(by_width.values()) == [0.0025] * 2 + [0.01] * 4
    even = net2net.widen(teacher, 2.0, X, **SPLIT)
    groups = even.param_groups(optimizer, "trajectory")
    inner = next(g for g in groups if any(p is even.student[2].weight for p in g["params"]))
    assert inner["lr"] == 0.005 and inner["eps"] == 0.5e-8 and inner["weight_decay"] == 0.02
    assert sum(len(g["params"]) for g in groups) == 6


def ended() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A teacher whose cosine schedule has ended at 0."""
    teacher = mlp()
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(10):
        teacher(X).square().sum().backward()
        optimizer.step()
        schedule.step()
    return teacher, optimizer


def test_a_new_schedule_begins_below_the_old_peak() -> None:
    teacher, optimizer = ended()
    growth = net2net.widen(teacher, 2.0, X)
    new = growth.optimizer(optimizer, rates="restart", ramp=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(new, 10)
    seen = [new.param_groups[0]["lr"]]
    for _ in range(10):
        new.step()
        schedule.step()
        seen.append(new.param_groups[0]["lr"])
    assert seen[0] == pytest.approx(0.06) and seen[5] == pytest.approx(0.03) and seen[10] == pytest.approx(0.0)
    assert optimizer.param_groups[0]["lr"] == 0.0 and optimizer.param_groups[0]["initial_lr"] == 0.2


def test_which_peak_a_restart_begins_below() -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, 2.0, X)
    cycle = torch.optim.SGD(teacher.parameters(), lr=torch.tensor(1.0), momentum=0.9)
    torch.optim.lr_scheduler.OneCycleLR(cycle, max_lr=0.5, total_steps=10)
    (group,) = growth.param_groups(cycle, "restart")
    assert isinstance(group["lr"], Tensor) and float(group["lr"]) == float(group["initial_lr"]) == pytest.approx(0.15)
    new = growth.optimizer(cycle, rates="restart")
    torch.optim.lr_scheduler.CosineAnnealingLR(new, 10)
    again = net2net.widen(growth.student, 2.0, X).param_groups(new, "restart")
    assert float(again[0]["lr"]) == pytest.approx(0.045)  # the first cycle's height is gone
    from_nothing = torch.optim.SGD(teacher.parameters(), lr=0.2)
    torch.optim.lr_scheduler.CyclicLR(from_nothing, 0.0, 0.1)
    refused(net2net.OptionError, lambda: growth.optimizer(from_nothing, rates="restart"), "group 0", "by hand")
    by_hand = torch.optim.SGD(teacher.parameters(), lr=0.2)
    refused(net2net.OptionError, lambda: growth.optimizer(by_hand, rates="restart"), "group 0", "by hand")


def test_an_old_schedule_does_not_go_on_from_a_restart() -> None:
    teacher, optimizer = ended()
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10, last_epoch=9)
    growth = net2net.widen(teacher, 2.0, X)
    new = growth.optimizer(optimizer, rates="restart")
    refused(net2net.OptionError, lambda: growth.scheduler(schedule, new), "rates='restart'", "Construct a new one")
    refused(
        net2net.OptionError,
        lambda: training.GrowthSchedule({1: {"sizes": {"0": 20}}}, X, rates="restart"),
        "'restart'",
        "'keep'",
    )


def test_an_ended_schedule_is_a_warning() -> None:
    teacher, optimizer = ended()
    growth = net2net.widen(teacher, 2.0, X)
    with pytest.warns(net2net.Net2NetWarning, match="schedule has ended.*rates='restart'"):
        growth.optimizer(optimizer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        growth.optimizer(optimizer, rates="restart")
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.1})
        assert not has_ended(optimizer)  # a part of the network goes on
        del optimizer.param_groups[1]
        optimizer.param_groups[0]["lr"] = 0.0001  # near its end, or at its beginning
        growth.optimizer(optimizer)


def test_a_rate_of_nothing_is_no_end() -> None:
    teacher = mlp()
    layers = [{"params": layer.parameters()} for layer in (teacher[0], teacher[2], teacher[4])]
    optimizer = torch.optim.SGD(layers, lr=0.2, momentum=0.9)
    torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda _: 0.0, lambda _: 1.0, lambda _: 1.0])  # a frozen layer
    stepped(teacher, optimizer)
    not_begun = torch.optim.SGD(teacher.parameters(), lr=0.2, momentum=0.9)
    torch.optim.lr_scheduler.LambdaLR(not_begun, lambda step: step / 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net2net.widen(teacher, 2.0, X).optimizer(optimizer)
        net2net.widen(teacher, 2.0, X).optimizer(not_begun)


# ---- steps of new entries


def problem(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 16, generator=generator)
    return x, torch.sin(2 * x[:, :8]).argmax(1)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 24), nn.Linear(24, 8)
        layers = [[nn.LayerNorm(24), nn.Linear(24, 48), nn.ReLU(), nn.Linear(48, 24)] for _ in range(2)]
        self.blocks = nn.ModuleList(nn.Sequential(*some) for some in layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x)


@repeatable
def residual() -> nn.Module:
    return Residual()


@repeatable
def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 8))


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> float:
    x, y = problem(seed)
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def new_entries(growth: net2net.Growth) -> dict[str, Tensor]:
    masks = {}
    for name, parameter in growth.student.named_parameters():
        masks[name] = torch.zeros(parameter.shape, dtype=torch.bool)
        tensor = growth.plan.tensors.get(name)
        for axis, m in enumerate(tensor.axes if tensor is not None else ()):
            if m is not None:
                masks[name].index_fill_(axis, torch.from_numpy((m.source < 0).nonzero()[0]), True)
        if tensor is not None and tensor.new:
            masks[name][...] = True
    return masks


def largest_steps(growth: net2net.Growth, optimizer: torch.optim.Optimizer) -> tuple[float, float]:
    """The largest step of a new and of an old entry in the first 50 steps, in learning rates."""
    masks, new, old = new_entries(growth), 0.0, 0.0
    for seed in range(50):
        before = {n: p.detach().clone() for n, p in growth.student.named_parameters()}
        descend(growth.student, optimizer, seed)
        for name, parameter in growth.student.named_parameters():
            step, mask = (parameter.detach() - before[name]).abs(), masks[name]
            new = max(new, float(step[mask].max())) if mask.any() else new
            old = max(old, float(step[~mask].max())) if not mask.all() else old
    rate = optimizer.param_groups[0]["lr"]
    return new / rate, old / rate


@pytest.mark.parametrize(
    "make,grow",
    [
        (plain, lambda t, x: net2net.widen(t, 2.0, x)),
        (plain, lambda t, x: net2net.widen(t, 4.0, x)),
        (plain, lambda t, x: net2net.widen(t, 2.0, x, how="pair")),
        (residual, lambda t, x: net2net.widen(t, 2.0, x)),
        (residual, lambda t, x: net2net.deepen(t, 2.0, x)),
        (plain, lambda t, x: net2net.deepen(t, {"0": 1}, x)),
    ],
)
@pytest.mark.parametrize("warm", [1000, pytest.param(3000, marks=pytest.mark.sweep)])
def test_new_entries_make_no_larger_steps_than_old_ones(make: Any, grow: Any, warm: int) -> None:
    """Single entries make steps a little above the learning rate in ordinary training too; zeros under the old step
    counter make steps of up to 6.6 learning rates."""
    teacher = make()
    optimizer = torch.optim.Adam(teacher.parameters(), lr=1e-3, betas=(0.9, 0.999))
    for seed in range(1000, 1000 + warm):
        descend(teacher, optimizer, seed)
    growth = grow(teacher, problem(0)[0])
    zeros = growth.replay(teacher)
    new, old = largest_steps(growth, growth.optimizer(optimizer, ramp=0))
    assert new < 1.5 * max(1.0, old), (new, old)
    ramped = growth.replay(teacher)
    assert largest_steps(ramped, ramped.optimizer(optimizer))[0] < 1.0
    spiking = zeros.optimizer(optimizer, ramp=0)
    for name, mask in new_entries(zeros).items():
        spiking.state[zeros.student.get_parameter(name)]["exp_avg_sq"][mask] = 0.0
    assert largest_steps(zeros, spiking)[0] > 3.5, "with zeros they do, so the test would see it"


def test_the_ramp_is_the_default() -> None:
    growth = net2net.widen(trained(mlp()), 2.0, X)
    optimizer = torch.optim.SGD(growth.teacher.parameters(), lr=0.1)
    assert growth.optimizer(optimizer).param_groups[0]["ramp_step"] == 0
    assert "ramp_step" not in growth.optimizer(optimizer, ramp=0).param_groups[0]
    assert training.ramp is not None
