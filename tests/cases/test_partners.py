"""A refusal for sizes that a class ties together says what has to be asked for together, and that works."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import net2net
from net2net.operators import _width_design
from net2net.operators._partners import partners
from net2net.student import MAX_DRAFTS, Verdict


class Distilled(nn.Module):
    """One attribute says where two tensors are split."""

    def __init__(self, d: int = 4, r: int = 12) -> None:
        super().__init__()
        self.d, self.r = d, r
        self.a, self.b = nn.Conv2d(3, d + r, 3, padding=1), nn.Conv2d(r, d + r, 3, padding=1)
        self.c = nn.Conv2d(2 * d + r, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        p, q = torch.split(torch.relu(self.a(x)), (self.d, self.r), 1)
        s, t = torch.split(torch.relu(self.b(q)), (self.d, self.r), 1)
        return self.c(torch.cat([p, s, t], 1))


class Encoder(nn.Module):
    """In every layer heads times the size of a head is the stream."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(width, 2, 11, batch_first=True, dropout=0.0, norm_first=True) for _ in "ab")
        )
        self.start, self.end = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.layers(self.start(x)))


class Chunks(nn.Module):
    """Two layers whose results are taken together by one number."""

    def __init__(self, n: int = 6) -> None:
        super().__init__()
        self.n, self.a, self.b, self.c = n, nn.Linear(4, n), nn.Linear(4, n), nn.Linear(2 * n, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.c(torch.cat([torch.relu(f(x)).view(-1, self.n) for f in (self.a, self.b)], 1))


HEAD_SIZES = {"layers.0.self_attn.head_size": 8, "layers.1.self_attn.head_size": 8}
TIED: list[tuple[nn.Module, tuple[int, ...], str, int, dict[str, int]]] = [
    (Distilled(), (1, 3, 6, 6), "a #1", 8, {"b #1": 8}),
    (Distilled(), (1, 3, 6, 6), "b #2", 19, {"a #2": 19}),
    (Chunks(), (5, 4), "a", 9, {"b": 9}),
    (Encoder(), (2, 3, 4), "residual stream", 16, HEAD_SIZES),
    (Encoder(), (2, 3, 4), "layers.1.self_attn.heads", 3, {"residual stream": 12, "layers.0.self_attn.heads": 3}),
]


@pytest.mark.parametrize("net, shape, name, size, more", TIED, ids=[f"{type(c[0]).__name__}-{c[2]}" for c in TIED])
def test_what_a_refusal_asks_for_works(
    net: nn.Module, shape: tuple[int, ...], name: str, size: int, more: dict[str, int]
) -> None:
    net, x = net.double(), torch.randn(shape, dtype=torch.float64)
    with pytest.raises(net2net.CouplingError) as refusal:
        net2net.widen(net, {name: size}, x)
    found = re.search(r"it works: ask for (\{.*\})", str(refusal.value))
    assert found is not None
    request = ast.literal_eval(found[1])
    assert request == {name: size} | more
    student = net2net.widen(net, request, x).student
    with torch.no_grad():
        y = net(x)
        assert float((student(x) - y).abs().max()) <= 1e-10 * float(y.abs().max())


class Written(nn.Module):
    """A size that is written into the forward, behind many widths of which none helps, and many numbers."""

    def __init__(self) -> None:
        super().__init__()
        widths = [4, *range(8, 28)]
        self.layers = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))
        self.first, self.last = nn.Linear(28, 6), nn.Linear(6, 2)
        for k in range(60):
            setattr(self, f"number_{k}", 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layers(x)
        return self.last(self.first(torch.cat([h, x[:, :1]], 1)).view(-1, 6))


def test_a_refusal_judges_few_drafts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those for a guess at partners; how long one takes is another matter."""
    judged: list[int] = []
    guesses: list[dict[str, int]] = []

    class Counted(_width_design.Fit):
        def __init__(self, numbers: Any, judge: Any, drafts: int) -> None:
            def counted(settings: Any) -> Verdict:
                judged[-1] += 1
                return Verdict((0, 0), ("",), net2net.CouplingError("no"))

            judged.append(0)
            super().__init__(numbers, counted, drafts)

    def searched(sizes: dict[str, int], analysis: net2net.Analysis, works: Callable[[dict[str, int]], bool]) -> Any:
        def tried(more: dict[str, int]) -> bool:
            guesses.append(more)
            return works(more)

        return partners(sizes, analysis, tried)

    monkeypatch.setattr(_width_design, "Fit", Counted)
    monkeypatch.setattr(_width_design, "partners", searched)
    with pytest.raises(net2net.CouplingError):
        net2net.widen(Written(), {"first": 9}, torch.randn(3, 4))
    assert 0 < judged[0] <= MAX_DRAFTS
    assert 8 < len(guesses) <= 16
    assert judged[1:] and max(judged[1:]) <= 12
