"""Train mode, other arguments, other methods, what nothing reads, what a proof can't see: cases as users have them."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from net2net.capture import Example, Graph, _train_mode, examples_of, with_train_mode
from net2net.capture._record import record_effects
from net2net.errors import CouplingError, FixedDimensionError, Net2NetWarning, OptionError, SizeError, VerificationError
from support import refused

X = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def relative(a: Any, b: Any) -> float:
    pairs = zip(a if isinstance(a, tuple) else (a,), b if isinstance(b, tuple) else (b,), strict=True)
    return max(((x - y).abs().max() / x.abs().max()).item() for x, y in pairs)


def learns(model: nn.Module, *args: Any) -> None:
    """A few steps of training run."""
    optimizer = torch.optim.Adam(model.train().parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        out = model(*args)
        sum(o.square().mean() for o in (out if isinstance(out, tuple) else (out,))).backward()
        optimizer.step()


class TwoTasks(nn.Module):
    """A head by name; in training also an auxiliary one."""

    def __init__(self, trains: bool = True, mean: bool = False) -> None:
        super().__init__()
        self.trains, self.mean = trains, mean
        self.body, self.head, self.aux = nn.Linear(4, 8), nn.Linear(8, 3), nn.Linear(8, 3)

    def features(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x))

    def forward(self, x: Tensor, task: str = "head") -> Any:
        z = self.features(x)
        y = getattr(self, task)(z)
        if self.training and self.trains:
            return (y, self.aux(z), z.mean()) if self.mean else (y, self.aux(z))
        return y


def test_what_only_training_runs_grows_too() -> None:
    net = TwoTasks().double()
    growth = net2net.widen(net, {"body": 12}, X)
    student = growth.student
    assert {k.split("/")[0] for k in growth.verification.errors} == {"eval", "train"}
    for other in (X, 3 * torch.randn(7, 4, dtype=torch.float64)):
        assert relative(net.eval()(other, "aux"), student.eval()(other, "aux")) <= 1e-10
        assert relative(net.train()(other), student.train()(other)) <= 1e-10
    assert growth.verification.dead == ()
    learns(student, X)


@pytest.mark.filterwarnings("ignore:copies with even shares")
def test_a_mean_over_units_in_training_only_is_seen() -> None:
    """It has no weights, so nothing crashes: another loss in silence."""
    refused(SizeError, lambda: net2net.widen(TwoTasks(mean=True).double(), {"body": 12}, X), "'body'", "averaged")
    net = TwoTasks(mean=True).double()
    student = net2net.widen(net, {"body": 16}, X, how="split", shares="even").student
    assert relative(net.train()(X), student.train()(X)) <= 1e-10


def test_a_branch_that_an_argument_asks_for_grows_with_an_example_of_its_own() -> None:
    net = TwoTasks(trains=False).double()
    growth = net2net.widen(net, {"body": 12}, [X, (X, "aux"), {"x": X[:2], "task": "head"}])
    for task in ("head", "aux"):
        assert relative(net.eval()(X, task), growth.student.eval()(X, task)) <= 1e-10
    assert growth.plan.notes == () and any("given 2" in key for key in growth.verification.errors)
    again = growth.replay(net)
    assert again.verification.errors.keys() == growth.verification.errors.keys()
    both = net2net.grow(net, [X, (X, "aux")], sizes={"body": 12}, where={"body": 1})
    assert relative(net.eval()(X, "aux"), both.student.eval()(X, "aux")) <= 1e-10
    larger = TwoTasks(trains=False).double()
    larger.body, larger.head, larger.aux = (m.double() for m in (nn.Linear(4, 9), nn.Linear(9, 3), nn.Linear(9, 3)))
    assert net2net.transfer(net, larger, [X, (X, "aux")]).verification.passed
    assert relative(net(X, "aux"), larger(X, "aux")) <= 1e-10


def test_what_no_example_reads_is_refused_where_it_may_share_an_axis() -> None:
    net = TwoTasks(trains=False).double()
    refused(CouplingError, lambda: net2net.widen(net, {"body": 12}, X), "'aux'", "'body'", "unread='keep'", "methods=")
    with pytest.warns(Net2NetWarning, match="no example reads 'aux'"):
        kept = net2net.widen(net, {"body": 12}, X, unread="keep")
    assert "'aux'" in kept.plan.notes[0] and kept.student.aux.in_features == 8
    refused(OptionError, lambda: net2net.widen(net, {"body": 12}, X, unread="grow"), "unread")


@pytest.mark.filterwarnings("ignore:no example reads")
def test_a_factor_for_all_leaves_out_what_an_unread_module_may_share() -> None:
    net = nn.Sequential(TwoTasks(trains=False), nn.ReLU(), nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)).double()
    plan = net2net.widen(net, 2.0, X).plan
    assert "0.body" in plan.left_out and "unread" in plan.left_out["0.body"]
    assert "2" in {w.dimension for w in plan.widenings}


class Twin(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.target = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.q(x)


def test_a_twin_that_the_forward_does_not_use_is_noted() -> None:
    with pytest.warns(Net2NetWarning, match="no example reads 'target'"):
        growth = net2net.widen(Twin().double(), 2.0, X)
    (note,) = growth.plan.notes
    assert "'target'" in note and "growth.replay" in note and growth.student.q[0].out_features == 16
    assert growth.student.target[0].out_features == 8


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_one_unread_parameter_beside_others_counts() -> None:
    """A mask token: added to the stream in another kind of training."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.start, self.end, self.token = nn.Linear(4, 8), nn.Linear(8, 2), nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
            h = self.start(x)
            return self.end(torch.relu(h if mask is None else torch.where(mask[:, None], self.token, h)))

    net, mask = Masked().double(), torch.tensor([True, False, True, False, False])
    refused(CouplingError, lambda: net2net.widen(net, {"start": 12}, X), "'token'")
    student = net2net.widen(net, {"start": 12}, [X, (X, mask)]).student
    assert student.token.shape == (12,) and relative(net(X, mask), student(X, mask)) <= 1e-10


class Coder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 5), nn.Linear(5, 9)
        self.d = nn.Linear(9, 4)

    def encode(self, x: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(x)))

    def decode(self, z: Tensor) -> Tensor:
        return self.d(torch.relu(self.c(z)))

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.decode(self(x))


def test_methods_beside_forward_grow_and_are_proved() -> None:
    net = Coder().double()
    growth = net2net.widen(net, {"a": 12, "c": 13}, X, methods=("encode", "reconstruct"))
    assert growth.student.c.out_features == 13 and growth.plan.notes == ()
    for name in ("forward", "encode", "reconstruct"):
        assert relative(getattr(net, name)(X), getattr(growth.student, name)(X)) <= 1e-10
    assert any("reconstruct" in key for key in growth.verification.errors)
    z = torch.randn(3, 5, dtype=torch.float64)
    student = net2net.widen(net, {"c": 13}, X, methods={"decode": z}).student
    assert relative(net.decode(z), student.decode(z)) <= 1e-10
    refused(FixedDimensionError, lambda: net2net.widen(net, {"b": 7}, X, methods={"decode": z}), "'b'")
    refused(OptionError, lambda: net2net.widen(net, {"a": 12}, X, methods=("paint",)), "'paint'")


def test_a_list_is_several_examples_never_positional_arguments() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 6), nn.Linear(6, 2)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.b(torch.relu(self.a(torch.cat([x, y], 1))))

    net = Pair().double()
    assert net2net.widen(net, {"a": 9}, (X, X)).verification.passed
    refused(OptionError, lambda: net2net.widen(net, {"a": 9}, [X, X]), "list", "tuple")
    refused(net2net.GrowthError, lambda: net2net.widen(net, {"a": 9}, [1.0, 2.0]), "float")


def test_a_student_that_crashes_in_training_is_refused_by_name() -> None:
    teacher, student = TwoTasks().double(), TwoTasks().double()
    student.aux = nn.Linear(9, 3).double()
    message = refused(VerificationError, lambda: net2net.verify(teacher, student, X), "train mode", "'aux'")
    assert "report" not in message


def test_a_teacher_that_fails_in_training_is_noted() -> None:
    class OnlyEval(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise NotImplementedError("for inference only")
            return self.b(torch.relu(self.a(x)))

    growth = net2net.widen(OnlyEval().double(), {"a": 12}, X)
    assert growth.verification.passed and growth.verification.exact_in == ("eval",)
    assert any("inference only" in note for note in growth.verification.notes)
    norm = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()
    one = net2net.widen(norm, {"0": 12}, X[:1])
    assert any("more than 1 value" in note for note in one.verification.notes)


class Noisy(nn.Module):
    """Dropout and noise in every spelling, in eval mode too where `always`."""

    def __init__(self, always: bool) -> None:
        super().__init__()
        self.always, self.rate = always, 0.4
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 9), nn.Linear(9, 2)
        self.alpha, self.drop = nn.AlphaDropout(0.3), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        on = self.always or self.training
        h = F.dropout(torch.relu(self.a(x)), self.rate, training=on)
        h = self.drop(self.alpha(self.b(h)))
        if on:
            h = h + 0.1 * torch.randn_like(h) * (torch.rand(len(h), 1) < 0.8)
            h = h * torch.bernoulli(torch.full_like(h, 0.7)) / 0.7
        return self.c(torch.relu(h))


@pytest.mark.parametrize("how", [None, "split"])
def test_randomness_is_off_while_networks_are_compared(how: str | None) -> None:
    teacher, before = Noisy(False).double(), torch.get_rng_state()
    growth = net2net.widen(teacher, {"a": 12} if how is None else {"a": 11, "b": 14}, X, how=how)
    assert growth.verification.exact_in == ("eval", "train") and torch.equal(before, torch.get_rng_state())
    assert not growth.verification.notes


def test_noise_in_eval_mode_is_said_so() -> None:
    net = Noisy(True).double()
    report = net2net.verify(net, net, X)
    assert report.passed and any("random in eval mode" in note for note in report.notes)


def test_batch_statistics_of_the_models_stay_as_they_are() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=0.125), nn.ReLU(), nn.Linear(8, 2)).double()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    growth = net2net.widen(net, {"0": 12}, X)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert "train/then eval/output" in growth.verification.errors
    student = growth.student
    with torch.no_grad():  # another rate of the running statistics shows after a pass of training
        student[1].momentum = 0.5
    assert not net2net.verify(net, student, X).passed


class AutoEncoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 8), nn.Linear(8, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.decode(torch.relu(self.encode(x))).sigmoid()
        return y, F.binary_cross_entropy(y, x)


def test_inputs_that_nobody_promised_to_take_are_left_out() -> None:
    x = torch.rand(4, 6, dtype=torch.float64)
    net = AutoEncoder().double()
    growth = net2net.widen(net, {"encode": 12}, x)
    assert growth.verification.passed and "eval/random/0" in growth.verification.errors
    assert any("normal inputs not compared" in note for note in growth.verification.notes)
    assert net2net.verify(net, growth.student, x).passed
    assert net2net.verify(net, growth.student, x.expand(2, 4, 6)[0] * 0 + 0.5).passed  # one value: nothing is between


class ZeroLast(nn.Module):
    """The last layer starts at zero, as in ControlNet, DiT, flows and policy heads."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(6, 8), nn.Linear(8, 7), nn.Linear(7, 3)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.b(torch.relu(self.a(x)))))


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_zeros_that_hide_a_wrong_growth_are_drawn(bias: float, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(9, 6, dtype=torch.float64)
    net = ZeroLast(bias).double()
    growth = net2net.widen(net, {"a": 14, "b": 11}, x)
    assert any("zero weights drawn" in key for key in growth.verification.errors)
    for model in (net, growth.student):
        with torch.no_grad():
            model.last.weight[:, :7] = 0.3
    assert relative(net(x), growth.student(x)) <= 1e-10
    from net2net.apply import grow_state

    def spoilt(plan: Any, state: Any, initial: Any = None) -> Any:
        result = grow_state(plan, state, initial)
        result["b.weight"][:, -1] += 1.0
        return result

    fresh = ZeroLast(bias).double()
    for module in ("operators._widen", "growth._carry_out"):
        monkeypatch.setattr(f"net2net.{module}.grow_state", spoilt)
    with torch.no_grad():
        fresh.a.bias.fill_(1.0)
    refused(VerificationError, lambda: net2net.widen(fresh, {"a": 14}, x), "zero weights drawn")


def test_a_branch_that_a_zero_gate_hides_is_compared() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.gate = nn.Linear(4, 8), nn.Linear(8, 4), nn.Parameter(torch.zeros(1))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.gate * self.b(torch.relu(self.a(x)))

    growth = net2net.widen(Gated().double(), {"a": 12}, X)
    assert any("zero weights drawn" in key for key in growth.verification.errors)


def test_an_output_in_which_nothing_was_compared_is_named() -> None:
    net = ZeroLast().double()
    report = net2net.verify(net, net, torch.randn(9, 6, dtype=torch.float64))
    assert any("'output' is constant" in note for note in report.notes)


def test_exactness_says_for_which_modes() -> None:
    norm = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()
    wider, deeper = net2net.widen(norm, {"0": 12}, X), net2net.deepen(norm, {"0": 1}, X)
    assert wider.verification.exact_in == ("eval", "train") and deeper.verification.exact_in == ("eval",)
    assert "exact in eval and train mode" in wider.report() and "exact in eval mode" in deeper.report()


def test_nothing_is_warned_of_where_all_is_read() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Net2NetWarning)
        net2net.widen(TwoTasks().double(), {"body": 12}, X)


class Shaped(nn.Module):
    """Two layers, with something between them that depends on the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.other, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("mean", torch.zeros(1, 8))
        self.scale = torch.tensor([0.5, 1.5])

    def between(self, h: Tensor, x: Tensor) -> Tensor:
        return h

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.body(x)) + torch.relu(self.other(x))
        return self.head(self.between(h, x))


class UnreadShape(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        h = F.dropout(h, 0.1, training=self.training)
        if self.training:
            h.unsqueeze(1).squeeze(1)
        return h * self.scale[0]


class OtherNumber(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        return h.unsqueeze(1).squeeze(1) * 2.0 if self.training else h.mul(3.0).view(5, 8)


class OtherArgument(Shaped):
    """The same operations, but for a number."""

    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h * (2.0 if self.training else 3.0)


class OtherConstant(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h * torch.tensor([1.0, 2.0 if self.training else 3.0]).repeat(4)


class OtherParameter(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h + (self.body if self.training else self.other)(x)


class OtherHeldTensor(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h * self.scale[1 if self.training else 0]


class OtherBuffer(Shaped):
    """What is left in a buffer is no part of the result."""

    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            self.mean = h.mean(0, keepdim=True)
        return h


class WrittenBuffer(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            self.mean.copy_(h.mean(0, keepdim=True))
        return h


class ReadNumber(Shaped):
    """A size that is read out of a tensor: which tensor can't be told."""

    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h[: int((x[0] > (0 if self.training else 9)).sum())]


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (Shaped, 1), (UnreadShape, 1), (OtherNumber, 2), (OtherArgument, 2), (OtherConstant, 2), (OtherParameter, 2),
        (OtherHeldTensor, 2), (OtherBuffer, 2), (WrittenBuffer, 2), (ReadNumber, 2),
    ],
)  # fmt: skip
def test_train_mode_is_captured_where_it_runs_another_function(kind: type[Shaped], count: int) -> None:
    assert len(with_train_mode(kind().double(), examples_of(X))) == count


class UnreadView(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            h.squeeze(0)
        return h


class KeptView(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        if self.training:
            self.last = h.squeeze(0)
        return h


class LaterRead(Shaped):
    def between(self, h: Tensor, x: Tensor) -> Tensor:
        view = h.squeeze(0) if self.training else None
        h = h + 1
        return h if view is None else h + view


@pytest.mark.parametrize(("kind", "recordings", "count"), [(UnreadView, 0, 1), (KeptView, 2, 2), (LaterRead, 2, 2)])
def test_a_view_that_nothing_reads_costs_no_recordings(
    kind: type[Shaped], recordings: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = []

    def counted(model: nn.Module, example: Example) -> Graph:
        recorded.append(example)
        return record_effects(model, example)

    monkeypatch.setattr(_train_mode, "record_effects", counted)
    assert len(with_train_mode(kind().double(), examples_of(X))) == count
    assert len(recorded) == recordings


def test_a_shape_that_nothing_reads_costs_no_capture_and_is_proved_in_both_modes() -> None:
    net = UnreadShape().double()
    growth = net2net.widen(net, {"body": 12}, X)
    assert {k.split("/")[0] for k in growth.verification.errors} == {"eval", "train"}
    for model in (net, growth.student):
        model.eval()
    assert relative(net(X), growth.student(X)) <= 1e-10
    learns(growth.student, X)


def test_zeros_hide_no_pool_over_features() -> None:
    class Pooled(ZeroLast):
        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(self.b(torch.relu(self.a(x))))
            return self.last(F.adaptive_avg_pool1d(h.unsqueeze(1), 4).squeeze(1))

    net = Pooled()
    net.last = nn.Linear(4, 3)
    nn.init.zeros_(net.last.weight)
    nn.init.zeros_(net.last.bias)
    x = torch.randn(9, 6, dtype=torch.float64)
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net.double(), {"b": 14}, x), "'b'", "pool")
