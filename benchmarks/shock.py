"""Is a growth a shock? The largest loss after it, against the teacher's own over the same batches.

An MLP and a convolutional network with BatchNorm learn digits under noise, a small Llama the source text of Python's
library; then all that can grow gets 2, 4 and 8 times as wide, with the defaults. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import copy
import inspect
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import net2net

BEFORE, SHORT, LONG = 400, 30, 300
Batch = tuple[torch.Tensor, torch.Tensor]


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 10))


def convolutions() -> nn.Module:
    layers = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2)]
    return nn.Sequential(
        *layers, nn.BatchNorm2d(12), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 10)
    )


def llama() -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=128, **sizes))


def digits(shape: tuple[int, ...], seed: int) -> list[Batch]:
    from sklearn.datasets import load_digits

    found = load_digits()
    x, y = torch.tensor(found.data / 16.0, dtype=torch.float32).reshape(-1, *shape), torch.tensor(found.target)
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(BEFORE + LONG):
        rows = torch.randint(0, len(x), (256,), generator=generator)
        result.append((x[rows] + 0.5 * torch.randn(256, *shape, generator=generator), y[rows]))
    return result


def text(seed: int) -> list[Batch]:
    written = "".join(inspect.getsource(module) for module in (argparse, copy, inspect))
    codes = torch.tensor([min(ord(letter), 127) for letter in written])
    generator = torch.Generator().manual_seed(seed)
    result = []
    for _ in range(BEFORE + LONG):
        starts = torch.randint(0, len(codes) - 33, (16,), generator=generator)
        rows = codes[starts[:, None] + torch.arange(33)]
        result.append((rows[:, :-1], rows[:, 1:]))
    return result


NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], list[Batch]]]] = {
    "MLP": (mlp, lambda seed: digits((64,), seed)),
    "CNN": (convolutions, lambda seed: digits((1, 8, 8), seed)),
    "Llama": (llama, text),
}
OPTIMIZERS: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "SGD 0.05, momentum 0.9": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "AdamW 0.002": lambda p: torch.optim.AdamW(p, lr=2e-3),
}


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: list[Batch]) -> list[float]:
    losses = []
    for x, y in batches:
        optimizer.zero_grad()
        out = model(x)
        loss = nn.functional.cross_entropy(getattr(out, "logits", out).flatten(0, -2), y.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    return losses


def ratios(
    network: str, optimizer: str, seed: int, factors: list[float], options: dict[str, Any], rates: str
) -> dict[float, Any]:
    """For each factor the largest loss of the first steps and of all, over the teacher's."""
    make, data = NETWORKS[network]
    torch.manual_seed(seed)
    teacher, batches = make(), data(seed)
    own = OPTIMIZERS[optimizer](teacher.parameters())
    train(teacher, own, batches[:BEFORE])
    growths = {factor: net2net.widen(teacher, factor, batches[0][0][:8], seed=seed, **options) for factor in factors}
    grown = {factor: growth.optimizer(own, rates=rates) for factor, growth in growths.items()}
    ours = train(teacher, own, batches[BEFORE:])
    found = {}
    for factor, growth in growths.items():
        theirs = train(growth.student, grown[factor], batches[BEFORE:])
        found[factor] = [max(theirs[:n]) / max(ours[:n]) for n in (SHORT, LONG)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--how", choices=["zero_out", "split", "pair"], default=None)
    parser.add_argument("--rates", choices=["keep", "width"], default="keep")
    arguments = parser.parse_args()
    options = {} if arguments.how is None else {"how": arguments.how}
    factors = [2.0, 4.0, 8.0]
    table = Table("network", "optimizer", "wider", f"largest loss of {SHORT} steps: mean, worst", f"of {LONG} steps")
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            runs = [
                ratios(network, optimizer, seed, factors, options, arguments.rates) for seed in range(arguments.seeds)
            ]
            for factor in factors:
                short, long = (torch.tensor([run[factor][k] for run in runs]) for k in (0, 1))
                pair = [f"{values.mean():.3f}, {values.max():.3f}" for values in (short, long)]
                table.add_row(network, optimizer, f"{factor:g}x", *pair)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
