"""New units learn: zeros on the side of the stored weight, and nothing that is dead goes unsaid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from net2net.axes import Inference
from net2net.operators import _width_design
from net2net.proof import _liveness
from net2net.sites._silence import Silence
from support import refused, widen_at

Product = Callable[[Tensor, Tensor, Tensor], Tensor]


class Layer(nn.Module):
    """W x + b, in the words of `product`."""

    def __init__(self, i: int, o: int, product: Product) -> None:
        super().__init__()
        self.product = product
        self.weight, self.bias = nn.Parameter(torch.randn(o, i) / i**0.5), nn.Parameter(torch.randn(o) / 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.weight, self.bias)


PRODUCTS: dict[str, Product] = {
    "einsum, weight first": lambda x, w, b: torch.einsum("oi,bi->bo", w, x) + b,
    "einsum, weight last": lambda x, w, b: torch.einsum("bi,oi->bo", x, w) + b,
    "W @ x": lambda x, w, b: (w @ x.t()).t() + b,
    "W @ columns": lambda x, w, b: (w @ x.unsqueeze(-1)).squeeze(-1) + b,
    "W.mv(x)": lambda x, w, b: torch.stack([w.mv(row) for row in x]) + b,
    "bmm": lambda x, w, b: torch.bmm(w.expand(len(x), *w.shape), x.unsqueeze(-1)).squeeze(-1) + b,
    "sum of x * W": lambda x, w, b: (x.unsqueeze(1) * w).sum(-1) + b,
    "sum of W * x": lambda x, w, b: torch.sum(w.t() * x[:, :, None], 1) + b,
    "addmm, weight first": lambda x, w, b: torch.addmm(b[:, None], w, x.t()).t(),
    "linear of the weight": lambda x, w, b: F.linear(w, x).t() + b,
    "a computed weight": lambda x, w, b: (torch.tanh(w) @ x.t()).t() + b,
    "tensordot": lambda x, w, b: torch.tensordot(x, w, dims=([1], [1])) + b,
    "tensordot, weight first": lambda x, w, b: torch.tensordot(w, x, dims=([1], [1])).t() + b,
    "inner": lambda x, w, b: torch.inner(x, w) + b,
    "rows of norm 1": lambda x, w, b: F.linear(x, F.normalize(w, dim=1), b),
    "rows over their norm": lambda x, w, b: x @ (w / w.norm(dim=1, keepdim=True)).t() + b,
    "a cast": lambda x, w, b: (w.float().double() @ x.t()).t() + b,
}


def network(product: Product, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Module:
    torch.manual_seed(0)
    layers = [Layer(3, 8, product), activation(), Layer(8, 9, product), activation(), Layer(9, 2, product)]
    return nn.Sequential(*layers).double()


def learned(student: nn.Module, x: Tensor, name: str, new: tuple[slice, ...], steps: int = 3) -> float:
    """How far the new entries of a tensor move in a few steps of Adam."""
    parameter = dict(student.named_parameters())[name]
    before = parameter.detach()[new].clone()
    out = student(x)
    target = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (student(x) - target).square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float((parameter.detach()[new] - before).abs().max())


VECTORS = torch.randn(64, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", PRODUCTS)
def test_the_zeros_are_in_the_stored_weight(name: str) -> None:
    teacher = network(PRODUCTS[name])
    growth = widen_at(teacher, {"0.weight": 17, "2.weight": 19}, VECTORS)
    assert growth.verification.dead == ()
    assert torch.allclose(growth.student(VECTORS), teacher(VECTORS), rtol=0, atol=1e-12)
    state = growth.student.state_dict()
    assert state["2.weight"][:9, 8:].count_nonzero() == 0 and state["4.weight"][:, 9:].count_nonzero() == 0
    assert state["0.weight"][8:].count_nonzero() == 9 * 3
    assert learned(growth.student, VECTORS, "2.weight", (slice(9, None), slice(8))) > 1e-3
    assert state["2.weight"][:9, 8:].count_nonzero() > 9 * 6  # the state dict is live: they have learned too


@pytest.mark.parametrize(
    "product",
    [
        lambda x, w, b: F.linear(x, F.normalize(w, dim=0), b),
        lambda x, w, b: x @ (w / w.norm(dim=0, keepdim=True)).t() + b,
        lambda x, w, b: x @ (w / w.square().sum(0, keepdim=True).sqrt()).t() + b,
    ],
)
def test_columns_of_zeros_have_no_norm_to_divide_by(product: Product) -> None:
    """0 / 0, or a gradient of 1e12 where an eps stands in: refused, in words about what is there."""
    net = network(product)
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net, {"0": 17}, VECTORS), "'0'")


def test_an_ensemble_of_batched_products() -> None:
    class Ensemble(nn.Module):
        def __init__(self, members: int = 4, hidden: int = 6) -> None:
            super().__init__()
            self.a = nn.Parameter(torch.randn(members, hidden, 3))
            self.b = nn.Parameter(torch.randn(members, 2, hidden))

        def forward(self, x: Tensor) -> Tensor:
            h = torch.relu(torch.bmm(self.a, x.t().expand(len(self.a), -1, -1)))
            return torch.bmm(self.b, h).mean(0)

    growth = widen_at(Ensemble().double(), {("a", 1): 13}, VECTORS)
    assert growth.verification.dead == () and growth.student.b[..., 6:].count_nonzero() == 0
    assert learned(growth.student, VECTORS, "a", (slice(None), slice(6, None))) > 1e-3


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_the_order_of_operands_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would see: the right operand taken for the weight."""

    def right_is_weight(self: Inference, node: object, left: tuple, right: tuple) -> None:  # type: ignore[type-arg]
        self.sums(node, self.of(left[0])[left[1]], right, left)  # type: ignore[arg-type]

    monkeypatch.setattr(Inference, "contract", right_is_weight)
    monkeypatch.setattr(Silence, "_asked", lambda self, value: (frozenset(), True))  # which would choose the other one
    growth = widen_at(network(PRODUCTS["W @ x"]), {"0.weight": 17}, VECTORS, how="zero_out")
    assert growth.student[2].weight[:, 8:].count_nonzero() > 0


class Machine(nn.Module):
    """A factorisation machine: both factors of each product are one weight, and zero is a saddle."""

    def __init__(self, n: int = 20, k: int = 6) -> None:
        super().__init__()
        self.v = nn.Embedding(n, k)

    def forward(self, t: Tensor) -> Tensor:
        v = self.v(t)
        return 0.5 * (v.sum(1).square() - v.square().sum(1)).sum(1)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(torch.randn(6, 3)), nn.Parameter(torch.randn(6) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(F.linear(x, self.w, self.b)) @ self.w


class Quadratic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return (h * h).sum(-1)


@pytest.mark.parametrize(
    ("net", "x", "tensor", "axis"),
    [
        (Machine(), torch.randint(0, 20, (64, 4)), "v.weight", 1),
        (Tied(), VECTORS, "w", 0),
        (Quadratic(), VECTORS, "a.weight", 0),
    ],
    ids=["machine", "tied", "quadratic"],
)
@pytest.mark.parametrize("size", [7, 13])
def test_copies_with_the_roots_of_the_shares(net: nn.Module, x: Tensor, tensor: str, axis: int, size: int) -> None:
    net = net.double()
    growth = widen_at(net, {(tensor, axis): size}, x)
    assert growth.verification.dead == () and growth.plan.widenings[0].how == "split"
    assert torch.allclose(growth.student(x), net(x), rtol=0, atol=1e-10 * float(net(x).abs().max()))
    new = (slice(None),) * axis + (slice(6, None),)
    assert learned(growth.student, x, tensor, new) > 1e-3


def test_zeros_go_to_the_other_side_of_a_frozen_layer() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2)).double()
    net[2].requires_grad_(False)
    growth = widen_at(net, {"0.weight": 13}, VECTORS)
    assert growth.verification.dead == () and growth.plan.widenings[0].how == "zero_in"
    assert torch.allclose(growth.student(VECTORS), net(VECTORS), rtol=0, atol=1e-12)
    assert learned_rows(growth.student, 8) > 1e-3
    with pytest.warns(net2net.Net2NetWarning, match="no gradient reaches"):
        widen_at(net, {"0.weight": 13}, VECTORS, how="zero_out")


def learned_rows(student: nn.Module, old: int) -> float:
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer, before = torch.optim.Adam(trained, 1e-2), student[0].weight.detach()[old:].clone()  # type: ignore[index]
    for _ in range(3):
        optimizer.zero_grad()
        (student(VECTORS) - 1).square().mean().backward()
        optimizer.step()
    return float((student[0].weight.detach()[old:] - before).abs().max())  # type: ignore[index]


def test_copies_where_neither_side_can_be_zero() -> None:
    """ReLU has no slope at 0, and the outgoing weights are frozen."""
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    net[2].requires_grad_(False)
    growth = widen_at(net, {"0.weight": 13}, VECTORS)
    assert growth.verification.dead == () and growth.plan.widenings[0].how == "split"
    assert learned_rows(growth.student, 8) > 1e-3
    assert "frozen, so their new entries stay as they are: 2.weight" in growth.report()


def test_units_between_frozen_layers() -> None:
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 9), nn.ReLU(), nn.Linear(9, 2))
    for layer in (net[0], net[2]):
        layer.requires_grad_(False)
    with pytest.warns(net2net.Net2NetWarning, match="in frozen layers"):
        growth = widen_at(net, {"0.weight": 12}, torch.randn(9, 4))
    assert set(growth.verification.dead or ()) == {"0.weight", "0.bias", "2.weight"}
    assert "no, no gradient reaches" in growth.report()


def test_saturated_units_are_told() -> None:
    """The teacher's own get no gradient either: nothing helps, and a warning says so."""
    net = nn.Sequential(nn.Linear(3, 8), nn.Sigmoid(), nn.Linear(8, 2)).double()
    with torch.no_grad():
        net[0].bias.fill_(1e4)
    with pytest.warns(net2net.Net2NetWarning, match="saturated"):
        growth = widen_at(net, {"0.weight": 13}, VECTORS)
    assert growth.verification.dead == () and set(growth.verification.idle) == {"0.weight", "0.bias"}
    assert "the teacher's own entries neither" in " ".join(growth.plan.notes)
    assert "yes" not in growth.report().splitlines()[1]


class Squared(nn.Module):
    """Its rows are squared (zero is a saddle), its columns are an ordinary sum."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w = nn.Linear(3, 8), nn.Parameter(torch.randn(6, 8) / 3)

    def forward(self, x: Tensor) -> Tensor:
        return (torch.relu(self.a(x)) @ self.w.t()).square().sum(-1)


class Powers(nn.Module):
    """Its units are raised to a power, which neither zeros nor shares fit, beside a branch that can grow."""

    def __init__(self, power: float = 3) -> None:
        super().__init__()
        self.power, self.a, self.b, self.c = power, nn.Linear(3, 6, bias=False), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return (self.a(x).abs() ** self.power).sum(-1, keepdim=True) + self.c(torch.relu(self.b(x)))


@pytest.mark.parametrize("sizes", [{("w", 0): 7, ("w", 1): 9}, {("w", 0): 11, ("w", 1): 15}])
def test_dead_along_one_axis_of_a_live_tensor(sizes: dict[str | tuple[str, int], int | float | str]) -> None:
    torch.manual_seed(0)
    net = Squared().double()
    with pytest.warns(net2net.Net2NetWarning, match="don't learn"):
        dead = widen_at(net, sizes, VECTORS, how="zero_in")
    assert "w" in (dead.verification.dead or ()) and dead.verification.stuck
    assert "don't learn" in " ".join(dead.plan.notes)
    growth = widen_at(net, sizes, VECTORS)
    hows = {w.before: w.how for w in growth.plan.widenings}
    assert growth.verification.dead == () and hows == {6: "split", 8: "zero_out"}
    assert torch.allclose(growth.student(VECTORS), net(VECTORS), rtol=0, atol=1e-10 * net(VECTORS).abs().max().item())
    assert learned(growth.student, VECTORS, "w", (slice(6, None),)) > 1e-3


@pytest.mark.parametrize("power", [3, 1.5, 4])
@pytest.mark.parametrize("size", [7, 12])
def test_units_that_no_way_lets_learn_are_refused_by_name(power: float, size: int) -> None:
    net = Powers(power).double()
    refused(net2net.FixedDimensionError, lambda: net2net.widen(net, {"a": size}, VECTORS), "'a'", "a.weight", "how=")
    with pytest.warns(net2net.Net2NetWarning, match="don't learn"):
        growth = net2net.widen(net, {"a": size}, VECTORS, how="zero_out")
    assert growth.verification.dead == ("a.weight",) and growth.verification.stuck == ("a",)


def test_a_factor_for_all_leaves_out_what_cannot_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    net, tried = Powers().double(), []
    search = _width_design.largest
    monkeypatch.setattr(_width_design, "largest", lambda *given: tried.append(given) or search(*given))
    growth = net2net.widen(net, 2.0, VECTORS)
    assert len(tried) == 1
    assert [w.dimension for w in growth.plan.widenings] == ["b"] and growth.verification.dead == ()
    assert "units that learn" in growth.plan.left_out["a"] and "left out: a (" in str(growth.plan)
    assert torch.allclose(growth.student(VECTORS), net(VECTORS), rtol=0, atol=1e-10 * net(VECTORS).abs().max().item())


@pytest.mark.parametrize("seed", range(6))
def test_one_unit_that_few_examples_miss(seed: int) -> None:
    """One row, one new unit: half of them are on the dark side of the ReLU for that row, and alive for others."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    growth = net2net.widen(net, {"0": 9}, VECTORS[seed : seed + 1], seed=seed)
    assert growth.verification.dead == () and growth.plan.widenings[0].how == "zero_out"


class Saddle(nn.Module):
    """With zeros on the way out nothing reaches new units on any input: they are squared there."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.activation, self.a, self.w = activation, nn.Linear(3, 6), nn.Parameter(torch.rand(6))

    def forward(self, x: Tensor) -> Tensor:
        return (self.activation(self.a(x)) * self.w**2).sum(-1, keepdim=True)


@pytest.mark.parametrize(
    ("activation", "passes"),
    [(torch.tanh, 3), (lambda h: h.clamp(-99, 99), 3), (torch.relu, 50), (lambda h: h.clamp(-0.1, 0.1), 50)],
)
def test_further_inputs_are_tried_where_some_may_light_units_up(
    activation: Callable[[Tensor], Tensor], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []
    touched = _liveness._touched
    monkeypatch.setattr(_liveness, "_touched", lambda *given: ran.append(given) or touched(*given))
    torch.manual_seed(0)
    with pytest.warns(net2net.Net2NetWarning, match="don't learn"):
        growth = net2net.widen(Saddle(activation).double(), {"a": 9}, VECTORS, how="zero_out")
    assert "a.weight" in (growth.verification.dead or ()) and len(ran) == passes


def test_transfer_makes_units_that_learn() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    student = nn.Sequential(nn.Linear(3, 13), nn.ReLU(), nn.Linear(13, 2)).double()
    for one in (net, student):
        one[2].requires_grad_(False)
    growth = net2net.transfer(net, student, VECTORS)
    assert growth.verification.dead == () and growth.plan.widenings[0].how == "split"
    assert torch.allclose(student(VECTORS), net(VECTORS), rtol=0, atol=1e-12)
    assert learned_rows(student, 8) > 1e-3
    big, small = Powers().double(), Powers().double()
    big.a = nn.Linear(3, 7, bias=False).double()
    before = big.a.weight.detach().clone()
    refused(net2net.FixedDimensionError, lambda: net2net.transfer(small, big, VECTORS), "'a'")
    assert torch.equal(big.a.weight, before)


@pytest.mark.filterwarnings("ignore:no gradient reaches")
def test_replays_tell_what_does_not_learn() -> None:
    net = Powers().double()
    plan = net2net.widen(net, {"a": 8}, VECTORS, how="zero_out").plan
    with pytest.warns(net2net.Net2NetWarning, match="don't learn"):
        growth = net2net.replay(plan, Powers().double(), VECTORS)
    assert growth.verification.dead == ("a.weight",)


def test_what_was_not_run_is_not_called_exact() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)).double()
    growth = net2net.widen(net, {"0": 13}, VECTORS[:1])  # one row: train mode doesn't run
    assert growth.verification.exact_in == ("eval",) and "verification.notes" in growth.report()
    assert net2net.widen(net, {"0": 13}, VECTORS).verification.exact_in == ("eval", "train")


def test_the_print_of_a_plan_says_in_which_mode_it_is_exact() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()
    first = str(net2net.deepen(net, {"0": 1}, VECTORS).plan).splitlines()[0]
    assert first.startswith("exactly function-preserving in eval mode")
    assert "mode" not in str(net2net.widen(net, {"0": 13}, VECTORS).plan).splitlines()[0]
