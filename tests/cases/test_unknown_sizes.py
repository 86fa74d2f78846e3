"""Networks whose shapes or numbers depend on values: the rest of them grows, and nothing is an internal error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

import net2net
from net2net.capture import capture, record
from net2net.student import operations

Float = torch.float64


class Experts(nn.Module):
    def __init__(self, hidden: int = 8) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 4)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen, y = self.gate(x).argmax(-1), torch.zeros_like(x)
        for k, expert in enumerate(self.experts):
            y[chosen == k] = expert(x[chosen == k])
        return y


class Scaled(nn.Module):
    """Divides by the largest value, as a Python number."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.relu(self.b(torch.relu(self.a(x)) / (1 + x.abs().max().item()))))


class Picked(nn.Module):
    """Only rows that a mask picks go through the layers, and are added where they came from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        places = (x[:, 0] > 0).nonzero()[:, 0]
        return x.index_add(0, places, self.b(torch.relu(self.a(x[places]))))


class Dispatched(nn.Module):
    """Rows are sorted by their expert, and cut where each expert's end, as mixtures without loops over masks do."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.gate, self.head = nn.Linear(4, 6), nn.Linear(6, 3, bias=False), nn.Linear(6, 2)
        self.into, self.out = nn.Parameter(torch.randn(3, 10, 6)), nn.Parameter(torch.randn(3, 6, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x)
        scores, chosen = self.gate(h).float().topk(2, dim=1)
        gates = scores.softmax(1).type_as(h).flatten()
        lengths = torch.zeros(len(x), 3).scatter(1, chosen, 1).long().sum(0).tolist()
        order = chosen.flatten().sort(0)[1]
        rows = order.div(2, rounding_mode="trunc")
        first = [part @ w.T for part, w in zip(h[rows].split(lengths), self.into, strict=True)]
        a, b = torch.cat(first).chunk(2, dim=-1)
        second = [part @ w.T for part, w in zip((torch.relu(a) * b).split(lengths), self.out, strict=True)]
        return self.head(h.index_add(0, rows, torch.cat(second) * gates[order][:, None]))


def mixture() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), Experts())


def check(teacher: nn.Module, student: nn.Module) -> None:
    for size in (1, 6, 23):
        x = torch.randn(size, 4, dtype=Float)
        for mode in (False, True):
            with torch.no_grad():
                expected, found = teacher.train(mode)(x), student.train(mode)(x)
            assert float((found - expected).abs().max()) <= 1e-10 * float(expected.abs().max())


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("build", [mixture, Scaled, Picked])
def test_all_that_can_grows(build: Any) -> None:
    torch.manual_seed(0)
    net, x = build().to(Float), torch.randn(6, 4, dtype=Float)
    assert net2net.analyze(net, x).growable()
    check(net, net2net.widen(net, 2.0, x).student)


def test_rows_sorted_by_their_expert() -> None:
    torch.manual_seed(0)
    net, x = Dispatched().to(Float), torch.randn(7, 4, dtype=Float)
    analysis = net2net.analyze(net, x)
    assert {dimension.size for dimension in analysis.growable()} == {5, 6}
    student = net2net.widen(net, 2.0, x).student
    assert student.into.shape == (3, 20, 12)
    check(net, student)


def test_drafts_with_unknown_sizes_are_recorded() -> None:
    """Not exported one by one: that takes ten times as long."""
    net, x = Dispatched(), torch.randn(7, 4)
    assert [(n.op, [v.shape for v in n.outputs]) for n in operations(record(net, x))] == [
        (n.op, [v.shape for v in n.outputs]) for n in operations(capture(net, x))
    ]


def test_a_format_lent_by_another_tensor_fixes_nothing() -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 5), nn.Linear(4, 7), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.c(torch.relu(self.a(x)).type_as(self.b(x)).to(self.b(x))) + self.b(x).sum()

    net, x = Cast().to(Float), torch.randn(3, 4, dtype=Float)
    student = net2net.widen(net, {"a": 9, "b": 13}, x).student
    with torch.no_grad():
        torch.testing.assert_close(student(x), net(x), rtol=1e-10, atol=1e-12)


def test_jetmoe_grows_everything() -> None:
    torch.manual_seed(0)
    config = transformers.JetMoeConfig(
        vocab_size=61, hidden_size=24, num_hidden_layers=1, num_key_value_heads=2, kv_channels=6, intermediate_size=20,
        num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    net = transformers.JetMoeForCausalLM(config).eval()
    x = {"input_ids": torch.randint(1, 61, (2, 7))}
    student = net2net.widen(net, 2.0, x).student
    assert (student.config.hidden_size, student.config.intermediate_size) == (48, 40)
    assert student.config.num_key_value_heads == 4


@pytest.mark.filterwarnings("ignore:no gradient reaches")
@pytest.mark.parametrize("name, size", [("0", 9), ("3.experts.1.0", 11)])
def test_one_width_of_a_mixture(name: str, size: int) -> None:
    torch.manual_seed(0)
    net, x = mixture().to(Float), torch.randn(6, 4, dtype=Float)
    student = net2net.widen(net, {name: size}, x).student
    assert student.get_submodule(name).out_features == size
    check(net, student)


@pytest.mark.parametrize("name", ["0", "3.experts.0.0"])
def test_deeper(name: str) -> None:
    torch.manual_seed(0)
    net, x = mixture().to(Float), torch.randn(6, 4, dtype=Float)
    check(net, net2net.deepen(net, {name: 1}, x).student)
