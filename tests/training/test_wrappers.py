"""A growth in training that is compiled, distributed, in mixed precision, accumulated or checkpointed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

import net2net

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.tanh(X @ torch.randn(6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64))
Step = Callable[[nn.Module, torch.optim.Optimizer], None]


class Checkpointed(nn.Module):
    """Two blocks whose activations are computed again in the backward pass."""

    def __init__(self, again: bool) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.again = again

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = x + (checkpoint(self._block, x, use_reentrant=False) if self.again else self._block(x))
        found: torch.Tensor = self.head(x)
        return found

    def _block(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.second(x))


def net(again: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Checkpointed(again).double()


def plain(model: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor = X, y: torch.Tensor = Y) -> None:
    optimizer.zero_grad()
    (model(x) - y).square().mean().backward()
    optimizer.step()


def trained(
    step: Step, wrap: Callable[[nn.Module], nn.Module] = lambda m: m, model: nn.Module | None = None
) -> nn.Module:
    """Six steps, a growth, six more."""
    model = net() if model is None else model
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    wrapped = wrap(model)
    for _ in range(6):
        step(wrapped, optimizer)
    growth = net2net.widen(model, {"first": 20}, X[:2])
    optimizer = growth.optimizer(optimizer, ramp=3)
    wrapped = wrap(growth.student)
    for _ in range(6):
        step(wrapped, optimizer)
    return growth.student


def same(one: nn.Module, other: nn.Module, tolerance: float = 1e-12) -> bool:
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.allclose(ours[n], theirs[n], atol=tolerance) for n in ours)


def test_compiled() -> None:
    assert same(trained(plain), trained(plain, lambda m: torch.compile(m, backend="aot_eager")))


def test_accumulated_gradients() -> None:
    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        for x, y in zip(X.chunk(4), Y.chunk(4), strict=True):
            ((model(x) - y).square().mean() / 4).backward()
        optimizer.step()

    assert same(trained(plain), trained(step))


def test_activation_checkpointing() -> None:
    assert same(trained(plain), trained(plain, model=net(again=True)))


def test_mixed_precision() -> None:
    losses: list[float] = []

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = (model(X.float()).float() - Y.float()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    trained(step, model=net().float())
    assert losses[6] <= 1.02 * losses[5] and losses[-1] < losses[0]


def test_gradient_scaler_goes_on() -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        scaler.scale((model(X) - Y).square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    assert same(trained(plain), trained(step))


def _rank(rank: int, file: str) -> None:
    torch.set_num_threads(1)
    # Over a file: no port that another process may take, and no server thread that may outlive its process.
    torch.distributed.init_process_group("gloo", f"file://{file}.store", rank=rank, world_size=2)

    def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        plain(model, optimizer, X.chunk(2)[rank], Y.chunk(2)[rank])

    student = trained(step, DistributedDataParallel)
    torch.save(student.state_dict(), f"{file}{rank}")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_distributed_data_parallel(tmp_path: Path) -> None:
    spawn: Any = torch.multiprocessing.spawn
    spawn(_rank, (str(tmp_path / "state"),), nprocs=2)
    states = [torch.load(tmp_path / f"state{rank}", weights_only=True) for rank in range(2)]
    whole = trained(plain).state_dict()
    for name, tensor in whole.items():
        assert torch.equal(states[0][name], states[1][name])
        assert torch.allclose(states[0][name], tensor, atol=1e-12)


def test_a_wrapped_network_is_refused_by_name() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compiled: Any = torch.compile(model, backend="aot_eager")
    with pytest.raises(net2net.GrowthError):
        net2net.training.adopt(net2net.widen(model, {"first": 20}, X[:2]), compiled, optimizer)


def test_a_distributed_network_is_refused_by_name(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with pytest.raises(net2net.CaptureError, match=r"DistributedDataParallel: grow `model\.module`"):
            net2net.widen(DistributedDataParallel(net()), {"first": 20}, X[:2])
    finally:
        torch.distributed.destroy_process_group()
