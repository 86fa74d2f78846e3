"""FLOPs against a hand count, on the processor and on the meta device."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from net2net.training import counting, flops_of


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("causal", [False, True])
def test_attention_counts_on_every_device(device: str, causal: bool) -> None:
    q = torch.randn(2, 4, 16, 8, device=device, requires_grad=True)
    with counting() as counter:
        nn.functional.scaled_dot_product_attention(q, q, q, is_causal=causal).sum().backward()
    forward = 2 * (2 * 2 * 4 * 16 * 16 * 8)  # two products
    assert counter.get_total_flops() == 3 * forward


def test_a_network_counts_as_torch_counts_it_and_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5), nn.Dropout())
    x, state = torch.randn(2, 3, 6, 6), torch.get_rng_state()
    found = flops_of(network, (x,), {})
    assert torch.equal(state, torch.get_rng_state()) and all(p.grad is None for p in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network(x).sum().backward()
    forward = 2 * 2 * 36 * 8 * 3 * 9 + 2 * 2 * 8 * 36 * 5
    assert found == counter.get_total_flops()
    assert flops_of(network, (x,), {}, backward=False) == forward
    assert found == 3 * forward - 2 * 2 * 36 * 8 * 3 * 9  # the images need no gradient
