"""After a growth with the defaults the loss doesn't jump, and copies of a unit come apart."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import repeatable

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

Batch = tuple[Tensor, Tensor]
WARM = 300


@repeatable
def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 8))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(16, 24), nn.Linear(24, 8)
        layers = [[nn.LayerNorm(24), nn.Linear(24, 48), nn.GELU(), nn.Linear(48, 24)] for _ in range(2)]
        self.blocks = nn.ModuleList(nn.Sequential(*some) for some in layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        found: Tensor = self.last(x)
        return found


@repeatable
def convolutions() -> nn.Module:
    first = [nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8)]
    return nn.Sequential(*first, nn.ReLU(), nn.Flatten(), nn.Linear(32, 8))


@repeatable
def llama() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    model: nn.Module = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=19, **sizes))
    return model


def vectors(seed: int) -> Batch:
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(seed))
    return x, torch.sin(2 * x[:, :8]).argmax(1)


def images(seed: int) -> Batch:
    x, y = vectors(seed)
    return x.reshape(-1, 1, 4, 4), y


def words(seed: int) -> Batch:
    """Each token is the sum of the two before it, with some noise."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 19, (16, 13), generator=generator)
    for k in range(2, 13):
        noise = torch.rand(16, generator=generator) < 0.1
        x[:, k] = torch.where(noise, x[:, k], (x[:, k - 1] + x[:, k - 2]) % 19)
    return x[:, :-1], x[:, 1:]


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Batch]]] = {
    "mlp": (mlp, vectors),
    "residual": (repeatable(Residual), vectors),
    "convolutions": (convolutions, images),
    "llama": (llama, words),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=3e-3),
}


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    out = model(batch[0])
    loss = nn.functional.cross_entropy(getattr(out, "logits", out).flatten(0, -2), batch[1].flatten())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@cache
def _warm(network: str, optimizer: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    make, data = NETWORKS[network]
    model = make()
    own = OPTIMIZERS[optimizer](model.parameters())
    for seed in range(1000, 1000 + WARM):
        descend(model, own, data(seed))
    return model, own


def warm(network: str, optimizer: str) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network in the middle of its training, to be used up."""
    return copy.deepcopy(_warm(network, optimizer))


@pytest.mark.thin(5)
@pytest.mark.parametrize("options", [{}, {"how": "split"}])
@pytest.mark.parametrize("factor", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", NETWORKS)
def test_growth_is_no_shock(network: str, optimizer: str, factor: float, options: dict[str, Any]) -> None:
    data = NETWORKS[network][1]
    teacher, own = warm(network, optimizer)
    growth = net2net.widen(teacher, factor, data(0)[0][:4], **options)
    new = growth.optimizer(own)
    theirs = [descend(growth.student, new, data(seed)) for seed in range(30)]
    ours = [descend(teacher, own, data(seed)) for seed in range(30)]
    assert max(theirs) <= 1.05 * max(ours), max(theirs) / max(ours)


def test_without_ramp_and_state_it_is_one() -> None:
    """What the tests above would see if the state were lost."""
    teacher, own = warm("residual", "AdamW")
    growth = net2net.widen(teacher, 8.0, vectors(0)[0])
    new = OPTIMIZERS["AdamW"](growth.student.parameters())
    theirs = [descend(growth.student, new, vectors(seed)) for seed in range(30)]
    assert max(theirs) > 1.05 * max(descend(teacher, own, vectors(seed)) for seed in range(30))


def test_rates_by_width_hold_a_high_rate() -> None:
    """At the end of the ramp too, where SGD with the old rate leaps."""
    peaks = {}
    for rates in ("keep", "width"):
        teacher, own = warm("convolutions", "SGD")
        for group in own.param_groups:
            group["lr"] = 0.2
        growth = net2net.widen(teacher, 8.0, images(0)[0][:4])
        new = growth.optimizer(own, rates=rates, ramp=50)
        theirs = [descend(growth.student, new, images(seed)) for seed in range(100)]
        peaks[rates] = max(theirs) / max(descend(teacher, own, images(seed)) for seed in range(100))
    assert peaks["width"] <= 1.05 < peaks["keep"], peaks


@pytest.mark.thin(5)
@pytest.mark.parametrize("network", ["mlp", "convolutions", "llama"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_copies_separate(network: str, optimizer: str) -> None:
    """No two copies are within 1 % of each other after 500 steps. (Of a unit that ReLU has silenced for good they are:
    it gets no gradient.)"""
    data = NETWORKS[network][1]
    teacher, own = warm(network, optimizer)
    growth = net2net.widen(teacher, 2.0, data(0)[0][:4], how="split")
    assert all(pair.distance < 1e-6 and pair.cosine > 1 - 1e-6 for pair in net2net.twins(growth))
    new = growth.optimizer(own)
    for seed in range(500):
        descend(growth.student, new, data(seed))
    pairs = net2net.twins(growth)
    assert len(pairs) >= 2 and all(pair.distance > 0.01 for pair in pairs), pairs
    assert "least distance" in growth.report() and "separates them" in str(growth)


def test_even_copies_stay_twins() -> None:
    teacher, own = warm("mlp", "AdamW")
    growth = net2net.widen(teacher, 2.0, vectors(0)[0], how="split", shares="even")
    new = growth.optimizer(own)
    for seed in range(50):
        descend(growth.student, new, vectors(seed))
    assert all(pair.distance < 1e-4 for pair in net2net.twins(growth))
    assert "stay twins" in growth.report()


def test_a_report_says_why_a_growth_is_not_exact() -> None:
    x = vectors(0)[0]
    assert "preserved  exact in eval and train mode (relative error" in net2net.widen(mlp(), 2.0, x).report()
    assert "none: how='random_pad'" in net2net.widen(mlp(), 2.0, x, how="random_pad").report()
    assert "approximate: noise='paper'" in net2net.widen(mlp(), 2.0, x, how="split", noise="paper").report()
    stacked = net2net.deepen(Residual(), 2.0, x, init="stack").report()
    assert "none: init='stack' puts blocks into blocks" in stacked and "alive      yes" in stacked
    normed = net2net.deepen(convolutions(), {"0": 1}, images(0)[0]).report()
    assert "; train mode as close as the statistics" in normed
