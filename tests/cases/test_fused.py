"""Parts of a fused projection that are split behind an activation: zeros go into the rows of one of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import net2net
from net2net.sites import _silence
from support import drawn, name_at, trained


class Scan(nn.Module):
    """As a state space does it: a depthwise convolution and an activation, then both factors of one product."""

    def __init__(self, short: Callable[[nn.Conv1d], Tensor], n: int = 6, bias: bool = True) -> None:
        super().__init__()
        self.short = short
        self.into, self.out = nn.Linear(4, 5 + 2 * n, bias=False), nn.Linear(5, 3)
        self.conv = nn.Conv1d(5 + 2 * n, 5 + 2 * n, 3, padding=2, groups=5 + 2 * n, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        h = self.into(x).mT
        h = nn.functional.conv1d(h, self.short(self.conv), self.conv.bias, padding=2, groups=h.shape[1])
        h = nn.functional.silu(h[..., : x.shape[1]]).mT
        n = (h.shape[-1] - 5) // 2
        y, b, c = h.split([5, n, n], -1)
        return self.out((c @ b.mT).tril() @ y)


SHORT: dict[str, Callable[[nn.Conv1d], Tensor]] = {
    "as it is": lambda conv: conv.weight,
    "seen through views": lambda conv: conv.weight.squeeze(1).unsqueeze(1),
}


@pytest.mark.parametrize(
    "short, bias, size", [("as it is", True, 7), ("as it is", False, 11), ("seen through views", True, 11)]
)
def test_one_factor_of_a_product_is_silent_and_both_learn(short: str, bias: bool, size: int) -> None:
    torch.manual_seed(0)
    teacher, x = trained(Scan(SHORT[short], bias=bias)), drawn(2, 7, 4)
    growth = net2net.widen(teacher, {name_at(teacher, x, "into.weight", 0, 1): size}, x)
    assert growth.verification.dead == () and growth.student.conv.weight.shape[0] == 5 + 2 * size
    other = drawn(3, 9, 4, seed=2)
    student = growth.student
    assert torch.allclose(student(other), teacher(other), rtol=0, atol=1e-10)
    new = [*range(11, 5 + size), *range(11 + size, 5 + 2 * size)]
    before = student.into.weight[new].detach().clone()
    optimizer = torch.optim.Adam(student.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        student(other).square().mean().backward()
        optimizer.step()
    assert bool(((student.into.weight[new] - before).abs().amax(1) > 1e-3).all())


def test_rows_that_an_activation_hides_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old way, both factors at 0, is refused: zero is a saddle."""
    found = _silence.region_of
    monkeypatch.setattr(_silence, "region_of", lambda inference, value, zeros: found(inference, value))
    teacher, x = trained(Scan(SHORT["as it is"])), drawn(2, 7, 4)
    with pytest.raises(net2net.FixedDimensionError, match="can't grow by units that learn"):
        net2net.widen(teacher, {name_at(teacher, x, "into.weight", 0, 1): 9}, x)
