"""New units learn: zeros on the side of the stored weight, and nothing that is dead goes unsaid."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from net2net.axes import Inference
from support import widen_at

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
    target = torch.randn(student(x).shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
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


def test_the_order_of_operands_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests above would see: the right operand taken for the weight."""

    def right_is_weight(self: Inference, node: object, left: tuple, right: tuple) -> None:  # type: ignore[type-arg]
        self.sums(node, self.of(left[0])[left[1]], right, left)  # type: ignore[arg-type]

    monkeypatch.setattr(Inference, "contract", right_is_weight)
    growth = widen_at(network(PRODUCTS["W @ x"]), {"0.weight": 17}, VECTORS, how="zero_out")
    assert growth.student[2].weight[:, 8:].count_nonzero() > 0
