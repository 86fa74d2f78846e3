"""Rows that stand for padding: what is new in them is 0, before and after training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from support import widen_at

TOKENS = torch.randint(1, 9, (16, 5), generator=torch.Generator().manual_seed(0))
TOKENS[:, 4] = 0


class Bag(nn.Module):
    def __init__(self, look: Callable[[nn.Embedding, Tensor], Tensor], padding: int = 0, n: int = 6) -> None:
        super().__init__()
        self.words, self.a, self.b = nn.Embedding(9, n, padding_idx=padding), nn.Linear(n, 7), nn.Linear(7, 2)
        self.look = look

    def forward(self, t: Tensor) -> Tensor:
        return self.b(torch.relu(self.a(self.look(self.words, t))))  # type: ignore[no-any-return]


LOOKS: dict[str, Callable[[nn.Embedding, Tensor], Tensor]] = {
    "module": lambda words, t: words(t).sum(1),
    "function": lambda words, t: F.embedding(t, words.weight, padding_idx=0).sum(1),
    "counted from the end": lambda words, t: F.embedding(t, words.weight, padding_idx=-9).sum(1),
    "cast": lambda words, t: F.embedding(t, words.weight.double(), padding_idx=0).to(words.weight.dtype).sum(1),
}


def padding_matters(net: nn.Module) -> float:
    longer = torch.cat([TOKENS, torch.zeros(16, 3, dtype=torch.long)], 1)
    return float((net(TOKENS) - net(longer)).abs().max())


@pytest.mark.parametrize("how", [None, "pair", "random_pad", "split"])
@pytest.mark.parametrize("look", LOOKS)
def test_the_row_of_padding_stays_zero(look: str, how: str | None) -> None:
    torch.manual_seed(0)
    teacher = Bag(LOOKS[look])
    student = widen_at(teacher, {("words.weight", 1): 13}, TOKENS, how=how).student
    assert student.words.weight[0].count_nonzero() == 0 and student.words.weight[1:].count_nonzero() > 8 * 12
    assert padding_matters(student) == 0.0
    optimizer, y = torch.optim.Adam(student.parameters(), 1e-2), torch.randn(16, 2)
    for _ in range(20):
        optimizer.zero_grad()
        (student(TOKENS) - y).square().mean().backward()
        optimizer.step()
    assert padding_matters(student) < 1e-6 and student.words.weight[0].count_nonzero() == 0


def test_an_embedding_bag() -> None:
    class Bags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.a = nn.EmbeddingBag(9, 6, padding_idx=2, mode="sum"), nn.Linear(6, 2)

        def forward(self, t: Tensor) -> Tensor:
            return self.a(self.words(t))  # type: ignore[no-any-return]

    student = widen_at(Bags(), {("words.weight", 1): 13}, TOKENS).student
    assert student.words.weight[2].count_nonzero() == 0


def test_noise_leaves_padding_alone() -> None:
    student = widen_at(Bag(LOOKS["module"]), {("words.weight", 1): 13}, TOKENS, how="split", noise="paper").student
    assert student.words.weight[0].count_nonzero() == 0


def test_a_table_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("net2net.apply._pieces.PIECE", 26)
    student = widen_at(Bag(LOOKS["module"], padding=5), {("words.weight", 1): 13}, TOKENS).student
    assert student.words.weight[5].count_nonzero() == 0 and student.words.weight[6].count_nonzero() == 13
