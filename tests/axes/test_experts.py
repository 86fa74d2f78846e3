"""Mixtures of experts in plain torch: every way to choose, every way to compute; the rest of the network grows."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import error, learned
from support import drawn, names_at, refused, trained

TOKENS, WIDTH, HIDDEN, EXPERTS, TOP = 11, 8, 12, 4, 2
Chosen = tuple[Tensor, Tensor]  # for each token: the experts' numbers, and their weights
Choose = Callable[[Tensor, Tensor], Chosen]


def softmax_first(logits: Tensor, bias: Tensor) -> Chosen:
    weights, numbers = logits.softmax(-1).topk(TOP)
    return numbers, weights / weights.sum(-1, keepdim=True)


def softmax_last(logits: Tensor, bias: Tensor) -> Chosen:
    values, numbers = logits.topk(TOP)
    return numbers, values.softmax(-1)


def biased_sigmoid(logits: Tensor, bias: Tensor) -> Chosen:
    scores = logits.sigmoid()
    numbers = (scores + bias).topk(TOP)[1]
    weights = scores.gather(-1, numbers)
    return numbers, 1.7 * weights / (weights.sum(-1, keepdim=True) + 1e-20)


def in_groups(logits: Tensor, bias: Tensor) -> Chosen:
    scores = logits.sigmoid()
    groups = (scores + bias).view(-1, 2, EXPERTS // 2)
    best = groups.topk(2)[0].sum(-1).topk(1)[1]
    mask = torch.zeros_like(groups[..., 0]).scatter(1, best, 1.0)
    open_ = mask.unsqueeze(-1).expand(-1, 2, EXPERTS // 2).reshape(-1, EXPERTS)
    numbers = (scores + bias).masked_fill(open_ == 0, float("-inf")).topk(TOP)[1]
    return numbers, scores.gather(1, numbers)


class Router(nn.Module):
    def __init__(self, choose: Choose) -> None:
        super().__init__()
        self.choose = choose
        self.weight = nn.Parameter(torch.randn(EXPERTS, WIDTH))
        self.register_buffer("bias", torch.randn(EXPERTS) / 10)

    def forward(self, x: Tensor) -> Chosen:
        return self.choose(x @ self.weight.T, self.bias)  # type: ignore[arg-type]


class Experts(nn.Module):
    """SwiGLU experts in two 3-D tensors, gate and up fused."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_up = nn.Parameter(torch.randn(EXPERTS, 2 * HIDDEN, WIDTH) / 2)
        self.down = nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN) / 3)

    @staticmethod
    def gated(both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        return nn.functional.silu(gate) * up


class Gathered(Experts):
    """The matrices of the chosen experts, looked up for each token."""

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        inner = self.gated(torch.einsum("td,tkhd->tkh", x, self.gate_up[numbers]))
        return torch.einsum("tkh,tkdh,tk->td", inner, self.down[numbers], weights)


class Batched(Experts):
    """Every expert on every token; what wasn't chosen has weight 0."""

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        inner = self.gated(torch.bmm(x.expand(EXPERTS, *x.shape), self.gate_up.transpose(1, 2)))
        made = torch.bmm(inner, self.down.transpose(1, 2))
        share = torch.zeros(x.shape[0], EXPERTS, dtype=x.dtype).scatter(1, numbers, weights)
        return (made * share.T.unsqueeze(-1)).sum(0)


class OneHot(Experts):
    """Every expert on every token, by einsum, with one-hot choices."""

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        inner = self.gated(torch.einsum("td,ehd->teh", x, self.gate_up))
        share = (nn.functional.one_hot(numbers, EXPERTS) * weights.unsqueeze(-1)).sum(1)
        return torch.einsum("teh,edh->ted", inner, self.down).mul(share.unsqueeze(-1)).sum(1)


class Sorted(Experts):
    """Tokens sorted by expert, one grouped product for all."""

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        flat = numbers.flatten()
        order = flat.argsort()
        offsets = torch.bincount(flat, minlength=EXPERTS).cumsum(0).int()
        inner = self.gated(torch._grouped_mm(x[order // TOP], self.gate_up.transpose(1, 2), offs=offsets))
        made = torch._grouped_mm(inner, self.down.transpose(1, 2), offs=offsets)
        made = made * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(x).index_add_(0, order // TOP, made)


class Looped(Experts):
    """One expert after the other, on the tokens that chose it."""

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        result = torch.zeros_like(x)
        for e in range(EXPERTS):
            token, place = torch.where(numbers == e)
            made = self.gated(x[token] @ self.gate_up[e].T) @ self.down[e].T
            result.index_add_(0, token, made * weights[token, place].unsqueeze(-1))
        return result


class Modules(nn.Module):
    """A list of modules; masks say who is theirs."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH)) for _ in range(EXPERTS)
        )

    def forward(self, x: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
        result = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            share = (weights * (numbers == e)).sum(-1, keepdim=True)
            result = result + share * expert(x)
        return result


class Block(nn.Module):
    """Attention is left out: a norm, a mixture with a shared expert behind a gate of its own, and the stream."""

    def __init__(self, choose: Choose, experts: type[nn.Module]) -> None:
        super().__init__()
        self.norm, self.router, self.experts = nn.RMSNorm(WIDTH), Router(choose), experts()
        self.shared = nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, WIDTH))
        self.shared_gate = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        numbers, weights = self.router(h)
        return x + self.experts(h, numbers, weights) + self.shared_gate(h).sigmoid() * self.shared(h)


class Mixture(nn.Module):
    def __init__(self, choose: Choose, experts: type[nn.Module]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, WIDTH), nn.Linear(WIDTH, 2)
        self.blocks = nn.ModuleList(Block(choose, experts) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


def inputs_of(model: nn.Module, seed: int = 1) -> Tensor:
    return drawn(TOKENS, 3, seed=seed).to(next(model.parameters()).dtype)


CHOOSE = {f.__name__: f for f in (softmax_first, softmax_last, biased_sigmoid, in_groups)}
EXPERT_CLASSES = (Gathered, Batched, OneHot, Sorted, Looped, Modules)


def mixture(choose: str, experts: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        # torch's grouped product is for float32 and rows of whole 16 bytes
        return trained(Mixture(CHOOSE[choose], experts), torch.float32 if experts is Sorted else torch.float64)


PAIRS = [("softmax_first", Gathered), ("biased_sigmoid", Looped), ("in_groups", Sorted)]
REST = [(c, e) for c in CHOOSE for e in EXPERT_CLASSES if (c, e) not in PAIRS]
every_mixture = pytest.mark.parametrize(
    ("choose", "experts"), [*PAIRS, *(pytest.param(*p, marks=pytest.mark.sweep) for p in REST)]
)
HIDDENS = {Modules: ("experts.experts.0.2.weight", 1)}


def hidden_of(model: nn.Module, experts: type[nn.Module]) -> str:
    tensor, axis = HIDDENS.get(experts, ("experts.down", 2))
    return names_at(net2net.analyze(model, inputs_of(model)), f"blocks.1.{tensor}", axis)[0]


def wider(model: nn.Module, sizes: object, **options: str) -> net2net.Growth:
    growth = net2net.widen(model, sizes, inputs_of(model), **options)  # type: ignore[arg-type]
    same(model, growth)
    return growth


def same(model: nn.Module, growth: net2net.Growth) -> None:
    """Exact on the example inputs and on others, of which each chooses its own experts."""
    for seed in (1, 9):
        x = inputs_of(model, seed)
        assert error(model, growth.student, x) <= (1e-10 if x.dtype == torch.float64 else 1e-5)


@every_mixture
def test_twice_as_wide(choose: str, experts: type[nn.Module]) -> None:
    """The stream, the experts and the shared expert; the router gets rows of the new width, and as many experts."""
    model = mixture(choose, experts)
    growth = wider(model, 2.0)
    shapes = {name: tuple(t.shape) for name, t in growth.student.named_parameters()}
    assert shapes["blocks.0.router.weight"] == (EXPERTS, 2 * WIDTH)
    assert shapes["blocks.1.shared.0.weight"] == (2 * HIDDEN, 2 * WIDTH)
    if experts is not Modules:
        assert shapes["blocks.0.experts.gate_up"] == (EXPERTS, 4 * HIDDEN, 2 * WIDTH)
        assert shapes["blocks.1.experts.down"] == (EXPERTS, 2 * WIDTH, 2 * HIDDEN)
    ratio = sum(p.numel() for p in growth.student.parameters()) / sum(p.numel() for p in model.parameters())
    assert ratio > 3
    assert growth.verification.dead == () and all(learned(growth, inputs_of(model)).values())


def test_rows_that_a_grouped_product_does_not_take_are_refused_by_size() -> None:
    """torch takes rows of whole 16 bytes: four numbers in float32."""
    model = mixture("biased_sigmoid", Sorted)
    name = hidden_of(model, Sorted)
    multiple = HIDDEN // 4 * 4 + 4
    for size in (multiple + 1, multiple + 2):
        words = (f"'{name}' {HIDDEN} -> {size}", "rows of whole 16 bytes", f"multiples of 4, such as {multiple + 4}")
        refused(net2net.CouplingError, lambda size=size: net2net.widen(model, {name: size}, inputs_of(model)), *words)
    wider(model, {name: multiple + 4})


@pytest.mark.parametrize(
    "experts", [Looped, *(pytest.param(e, marks=pytest.mark.sweep) for e in EXPERT_CLASSES if e is not Looped)]
)
@pytest.mark.parametrize("how", ["zero_out", "split"])
def test_awkward_sizes(experts: type[nn.Module], how: str) -> None:
    """One expert dimension of one layer by itself."""
    model = mixture("biased_sigmoid", experts)
    name = hidden_of(model, experts)
    for size in (HIDDEN + 4, 2 * HIDDEN - 4, 3 * HIDDEN) if experts is Sorted else (HIDDEN + 1, 2 * HIDDEN - 1):
        growth = wider(model, {name: size}, how=how)
        assert growth.plan.widenings[0].after == size


def test_grown_twice() -> None:
    """A student is a teacher: what is grown once more is exact, too."""
    model = mixture("in_groups", Sorted)
    once = wider(model, 2.0)  # rows of a grouped product are whole 16 bytes
    twice = wider(once.student, 2.0, how="split")
    same(model, twice)


@every_mixture
def test_twice_as_deep(choose: str, experts: type[nn.Module]) -> None:
    """A further block is silent by the last projections of its experts, and learns at once."""
    model = mixture(choose, experts)
    growth = net2net.deepen(model, "2x", inputs_of(model))
    assert growth.plan.deepenings[0].after == 4
    same(model, growth)
    assert growth.verification.dead == () and all(learned(growth, inputs_of(model)).values())


def test_deeper_and_wider() -> None:
    model = mixture("in_groups", Looped)
    same(model, net2net.grow(model, inputs_of(model), where="2x", sizes=2.0))


@pytest.mark.parametrize("experts", [Batched, Sorted])
def test_experts_are_no_width(experts: type[nn.Module]) -> None:
    """Their number is fixed: copies would compete."""
    model = mixture("softmax_first", experts)
    dimensions = net2net.analyze(model, inputs_of(model)).dimensions
    fixed = [d for d in dimensions.values() if d.size == EXPERTS]
    assert fixed and all(d.growth == "fixed" for d in fixed)
