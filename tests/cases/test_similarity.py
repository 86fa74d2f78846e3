"""Vectors that are compared by their angle or distance grow by copies, and messages by matrices made for each edge."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import net2net
from support import drawn, refused, trained

Compare = Callable[[Tensor, Tensor], Tensor]


class Towers(nn.Module):
    """Two towers whose results are compared, each with all of the other."""

    def __init__(self, compare: Compare) -> None:
        super().__init__()
        self.a, self.b, self.compare = nn.Linear(4, 8), nn.Linear(3, 8), compare

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.compare(self.a(x)[:, None], self.b(y)[None])


def of_one_shape(a: Tensor, b: Tensor) -> Tensor:
    a, b = torch.broadcast_tensors(a, b)
    return F.cosine_similarity(a.transpose(1, 2), b.transpose(1, 2))


COMPARED: dict[str, Compare] = {
    "cosine": lambda a, b: F.cosine_similarity(a, b, dim=-1),
    "of one shape": of_one_shape,
    "of unit vectors": lambda a, b: (F.normalize(a, dim=-1) * F.normalize(b, dim=-1)).sum(-1),
    "distance": lambda a, b: (a - b).norm(dim=-1),
}


@pytest.mark.parametrize("name, size", [("cosine", 13), ("of one shape", 24), ("of unit vectors", 9), ("distance", 13)])
def test_copies_keep_angles_and_distances_and_learn(name: str, size: int) -> None:
    torch.manual_seed(0)
    teacher, inputs = trained(Towers(COMPARED[name])), (drawn(5, 4), drawn(6, 3, seed=2))
    growth = net2net.widen(teacher, {"a": size}, inputs)
    student, other = growth.student, (drawn(7, 4, seed=3), drawn(2, 3, seed=4))
    assert growth.verification.dead == () and student.b.out_features == size
    assert torch.allclose(student(*other), teacher(*other), rtol=1e-10, atol=1e-12)
    before = student.a.weight.detach().clone()
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    student(*other).sum().backward()
    optimizer.step()
    assert bool((student.a.weight - before).abs().amax(1).gt(1e-4).all())


def test_an_angle_to_stored_vectors() -> None:
    class Prototypes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.kept = nn.Linear(4, 8), nn.Parameter(torch.randn(3, 8))

        def forward(self, x: Tensor) -> Tensor:
            return F.cosine_similarity(self.a(x)[:, None], self.kept, dim=2)

    torch.manual_seed(0)
    teacher, other = trained(Prototypes()), drawn(7, 4, seed=3)
    growth = net2net.widen(teacher, 2.0, drawn(5, 4))
    assert growth.student.kept.shape == (3, 16) and growth.verification.dead == ()
    assert torch.allclose(growth.student(other), teacher(other), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "compare, reason",
    [
        (F.pairwise_distance, "(a - b).norm(dim=-1) has none"),
        (lambda a, b: F.cosine_similarity(a, b[..., :1], dim=-1), "one entry is compared with all along it"),
        (lambda a, b: (a - b).norm(p=3, dim=-1), "takes a norm over it, in which copies would count twice"),
    ],
)
def test_what_has_no_copies_is_refused_in_words(compare: Compare, reason: str) -> None:
    teacher, inputs = trained(Towers(compare)), (drawn(5, 4), drawn(6, 3, seed=2))
    name = next(d.name for d in net2net.analyze(teacher, inputs).dimensions.values() if d.size in (7, 8))
    refused(net2net.GrowthError, lambda: net2net.widen(teacher, {name: 13}, inputs, how="split"), reason)


class Messages(nn.Module):
    """Gilmer et al. (2017): the matrix of an edge is computed of its features; a GRU takes what arrives."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.width, self.into, self.out = width, nn.Linear(4, width), nn.Linear(width, 2)
        self.edge = nn.Sequential(nn.Linear(3, 10), nn.ReLU(), nn.Linear(10, width * width))
        self.gru = nn.GRUCell(width, width)

    def forward(self, x: Tensor, edges: Tensor, source: Tensor, target: Tensor) -> Tensor:
        h = torch.relu(self.into(x))
        matrices = self.edge(edges).view(-1, self.width, self.width)
        for _ in range(2):
            sent = torch.bmm(matrices, h[source].unsqueeze(-1)).squeeze(-1)
            h = self.gru(torch.zeros_like(h).index_add(0, target, sent), h)
        return self.out(h)


def test_a_message_network_learns_with_its_new_units(size: int = 9) -> None:
    """Zeros in the matrices, not behind the ReLU that makes what they are multiplied with."""
    torch.manual_seed(0)
    teacher = trained(Messages())
    places = torch.randint(0, 5, (2, 9), generator=torch.Generator().manual_seed(1))
    growth = net2net.widen(teacher, {"into": size}, (drawn(5, 4), drawn(9, 3, seed=2), *places))
    student, other = growth.student, (drawn(5, 4, seed=3), drawn(9, 3, seed=4), *places.flip(1))
    assert growth.verification.dead == () and student.width == size
    assert torch.allclose(student(*other), teacher(*other), rtol=0, atol=1e-10)
    before = student.into.weight.detach().clone()
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    for _ in range(4):
        optimizer.zero_grad()
        student(*other).square().mean().backward()
        optimizer.step()
    assert float((student.into.weight - before)[6:].abs().max()) > 1e-3
