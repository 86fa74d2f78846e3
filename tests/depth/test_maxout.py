"""Identity layers behind maxout: every linear piece of a unit reads that unit, and the largest of them is it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from deeper import error, exact
from support import drawn, refused, trained

Largest = Callable[[Tensor, int], Tensor]
LARGEST: dict[str, Largest] = {"amax": lambda x, d: x.amax(d), "max": lambda x, d: x.max(d).values}


class Maxout(nn.Module):
    """Units that are the largest of a few linear pieces; `dims` axes of positions behind the channels."""

    def __init__(
        self, dims: int = 0, units: int = 5, pieces: int = 3, largest: Largest = LARGEST["amax"], norm: bool = False
    ) -> None:
        super().__init__()
        self.units, self.pieces, self.largest, self.dims = units, pieces, [largest], dims
        self.lin = nn.Conv2d(2, units * pieces, 3) if dims else nn.Linear(4, units * pieces)
        self.norm = (nn.BatchNorm2d if dims else nn.BatchNorm1d)(units * pieces) if norm else nn.Identity()
        self.head = nn.Conv2d(units, 2, 2) if dims else nn.Linear(units, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.lin(x))
        if self.dims:
            x = x.view(x.shape[0], self.units, self.pieces, *x.shape[2:])
            return self.head(self.largest[0](x, 2))
        x = x.view(*x.shape[:-1], self.units, self.pieces)
        return self.head(self.largest[0](x, -1))


@pytest.mark.parametrize("largest", LARGEST)
@pytest.mark.parametrize(("units", "pieces", "count"), [(5, 3, 1), (1, 2, 2), (4, 4, 1), (7, 5, 2)])
def test_linear_pieces(largest: str, units: int, pieces: int, count: int) -> None:
    """Exact for units of either sign, which an identity behind a ReLU is not."""
    teacher = trained(Maxout(0, units, pieces, LARGEST[largest]))
    student = exact(teacher, {"lin": count}, drawn(9, 4)).student
    layers = [m for m in student.lin.modules() if isinstance(m, nn.Linear)]
    assert len(layers) == count + 1
    repeated = torch.eye(units).double().repeat_interleave(pieces, 0)
    assert all(torch.equal(layer.weight, repeated) for layer in layers[1:])


@pytest.mark.parametrize("largest", LARGEST)
@pytest.mark.parametrize("kernel", [None, 1, 5, [(1, 3), (3, 1)]], ids=str)
def test_convolutions(largest: str, kernel: int | list[tuple[int, int]] | None) -> None:
    teacher = trained(Maxout(2, largest=LARGEST[largest]))
    student = exact(teacher, {"lin": 1}, drawn(3, 2, 8, 7), kernel=kernel).student
    assert len([m for m in student.lin.modules() if isinstance(m, nn.Conv2d)]) == (3 if isinstance(kernel, list) else 2)


def test_linear_pieces_along_tokens() -> None:
    exact(trained(Maxout()), {"lin": 1}, drawn(3, 6, 4))


@pytest.mark.parametrize("dims", [0, 2])
def test_with_a_norm(dims: int) -> None:
    """The statistics are those of the units, once for each of their pieces."""
    teacher = trained(Maxout(dims, norm=True))
    x = drawn(16, 2, 8, 7) if dims else drawn(64, 4)
    student = exact(teacher, {"lin": 1}, x).student
    norm = [m for m in student.norm.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)][1]
    mean = norm.running_mean.reshape(5, 3)
    assert torch.equal(mean, mean[:, :1].expand(5, 3)) and len(set(mean[:, 0].tolist())) == 5
    assert error(teacher, student, x, train=True) <= 1e-3  # the batch that the statistics come from


class Switched(Maxout):
    """Pieces that stand before the units: the runs that pooling would take are no units."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lin(x).view(x.shape[0], self.pieces, self.units).amax(1))


def test_pieces_in_another_order_are_refused_or_exact() -> None:
    refused(net2net.GrowthError, lambda: net2net.deepen(trained(Switched()), {"lin": 1}, drawn(9, 4)), "'lin'")
