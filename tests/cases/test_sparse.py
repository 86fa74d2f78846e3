"""Sparse adjacency, as an input or as a buffer: a product as any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import repeatable, trained

PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sparse": torch.sparse.mm,
    "at": lambda a, x: a @ x,
    "mm": torch.mm,
}


def adjacency() -> Tensor:
    return (torch.rand(6, 6, generator=torch.Generator().manual_seed(1)) > 0.5).double()


class Layers(nn.Module):
    def __init__(self, product: Callable[[Tensor, Tensor], Tensor], stored: bool = False) -> None:
        super().__init__()
        self.product, self.a, self.b = product, nn.Linear(4, 8), nn.Linear(8, 3)
        if stored:
            self.register_buffer("adjacency", adjacency().to_sparse())

    def forward(self, x: Tensor, a: Tensor | None = None) -> Tensor:
        matrix: Any = self.adjacency if a is None else a
        return self.product(matrix, self.b(torch.relu(self.product(matrix, self.a(x)))))


def agree(teacher: nn.Module, student: nn.Module, *more: Tensor) -> None:
    x = torch.randn(6, 4, dtype=torch.float64)
    a, b = teacher(x, *more), student(x, *more)
    assert ((a - b).abs().max() / a.abs().max()).item() <= 1e-10


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("layout", [Tensor.to_sparse, Tensor.to_sparse_csr])
def test_as_an_input(product: str, layout: Callable[[Tensor], Tensor]) -> None:
    teacher, matrix = trained(repeatable(lambda: Layers(PRODUCTS[product]))()), layout(adjacency())
    growth = net2net.widen(teacher, {"a": 13}, (torch.randn(6, 4, dtype=torch.float64), matrix))
    agree(teacher, growth.student, matrix)


def test_as_a_buffer() -> None:
    teacher = repeatable(lambda: Layers(PRODUCTS["at"], stored=True))().double()
    agree(teacher, net2net.widen(teacher, {"a": 13}, torch.randn(6, 4, dtype=torch.float64)).student)
