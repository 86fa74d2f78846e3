"""A student of even copies follows the teacher's own training, step by step, with the rates of "trajectory"."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import net2net
from support import in_float64, refused, repeatable, trained
from zoo.huggingface_causal import MODELS
from zoo.model import Inputs

pytestmark = pytest.mark.filterwarnings("ignore:copies with even shares")

STEPS = 200
Optimizers = Callable[[nn.Module], list[torch.optim.Optimizer]]


@repeatable
def mlp() -> nn.Module:
    return trained(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)))


@repeatable
def convolutions() -> nn.Module:
    first = [nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 2), nn.BatchNorm2d(5), nn.ReLU()]
    return trained(nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)))


def llama() -> nn.Module:
    return next(m for m in MODELS if m.name == "llama").build().double()


def batches(name: str, count: int) -> list[Inputs]:
    generator = torch.Generator().manual_seed(7)
    if name == "llama":
        model = next(m for m in MODELS if m.name == "llama")
        vocabulary = llama().config.vocab_size
        shape = in_float64(model.inputs())["input_ids"].shape
        return [{"input_ids": torch.randint(0, vocabulary, shape, generator=generator)} for _ in range(count)]
    shape = (6, 4) if name == "mlp" else (4, 2, 6, 6)
    return [torch.randn(shape, dtype=torch.float64, generator=generator) for _ in range(count)]


NETWORKS = {"mlp": mlp, "convolutions": convolutions, "llama": llama}


def muon(model: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for all the rest: two optimizers that share a network."""
    outer = ("embed_tokens", "lm_head")
    inner = [p for n, p in model.named_parameters() if p.dim() == 2 and not any(o in n for o in outer)]
    rest = [p for p in model.parameters() if all(p is not q for q in inner)]
    return [torch.optim.Muon(inner, lr=0.01, weight_decay=0.1), torch.optim.AdamW(rest, lr=0.003)]


OPTIMIZERS: dict[str, Optimizers] = {
    "sgd": lambda m: [torch.optim.SGD(m.parameters(), lr=0.02, momentum=0.9, weight_decay=0.01)],
    "nesterov": lambda m: [torch.optim.SGD(m.parameters(), lr=0.02, momentum=0.9, nesterov=True)],
    "adam": lambda m: [torch.optim.Adam(m.parameters(), lr=0.003, eps=1e-3, weight_decay=0.01, amsgrad=True)],
    "adamw": lambda m: [torch.optim.AdamW(m.parameters(), lr=0.003, eps=1e-3, weight_decay=0.1)],
    "rmsprop": lambda m: [torch.optim.RMSprop(m.parameters(), lr=0.001, momentum=0.5, centered=True, eps=1e-3)],
    "muon": muon,
}
MORE: dict[str, Optimizers] = {
    "nadam": lambda m: [torch.optim.NAdam(m.parameters(), lr=0.002, eps=1e-3, decoupled_weight_decay=True)],
    "adamax": lambda m: [torch.optim.Adamax(m.parameters(), lr=0.002, eps=1e-3, weight_decay=0.01)],
    "adagrad": lambda m: [torch.optim.Adagrad(m.parameters(), lr=0.01, eps=1e-3, lr_decay=0.01)],
    "adamw_fused": lambda m: [torch.optim.AdamW(m.parameters(), lr=0.003, eps=1e-3, fused=True)],
    "match_rms": lambda m: [
        torch.optim.Muon([p for p in m.parameters() if p.dim() == 2], lr=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW([p for p in m.parameters() if p.dim() != 2], lr=0.003),
    ],
}


@pytest.fixture(autouse=True)
def _in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Float64 where torch and transformers compute in less: the rule is exact, rounding to bfloat16 is not."""

    def orthogonal(gradient: Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> Tensor:
        a, b, c = coefficients
        x = gradient.T if gradient.size(0) > gradient.size(1) else gradient
        x = x / x.norm().clamp(min=eps)
        for _ in range(steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x.T if gradient.size(0) > gradient.size(1) else x

    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    def norm(self: Any, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.variance_epsilon)

    monkeypatch.setattr("torch.optim._muon._zeropower_via_newtonschulz", orthogonal)
    monkeypatch.setattr(LlamaRMSNorm, "forward", norm)
    yield


def output(model: nn.Module, batch: Inputs) -> Tensor:
    return model(**batch).logits if isinstance(batch, dict) else model(batch)


def train(model: nn.Module, optimizers: list[torch.optim.Optimizer], data: list[Inputs]) -> list[Tensor]:
    """Train on targets that a fixed function of the output's place gives; the outputs at every step."""
    outputs = []
    for batch in data:
        y = output(model, batch)
        target = torch.sin(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape)
        for optimizer in optimizers:
            optimizer.zero_grad()
        (y - target).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        outputs.append(y.detach())
    return outputs


def departure(
    network: str, make: Optimizers, steps: int = STEPS, factor: float = 2.0, rates: str = "trajectory"
) -> float:
    """How far the student is from the teacher's own continuation, over all steps, relative to the outputs."""
    teacher = NETWORKS[network]().train()
    before, after = batches(network, 20), batches(network, 20 + steps)[20:]
    optimizers = make(teacher)
    first = output(teacher, after[0]).detach()
    train(teacher, optimizers, before)
    growth = net2net.widen(teacher, factor, before[0], how="split", shares="even")
    grown = [growth.optimizer(optimizer, rates=rates, ramp=0) for optimizer in optimizers]
    theirs = train(growth.student.train(), grown, after)
    ours = train(teacher, optimizers, after)
    assert float((ours[-1] - first).abs().max()) > 1e-2 * float(first.abs().max()), "nothing was learned"
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.thin(5)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("network", ["mlp", "llama"])
def test_the_student_follows_the_teacher(network: str, optimizer: str) -> None:
    assert departure(network, OPTIMIZERS[optimizer]) < 1e-8


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_the_student_follows_the_teacher_through_batch_norm(optimizer: str) -> None:
    assert departure("convolutions", OPTIMIZERS[optimizer]) < 1e-8


@pytest.mark.parametrize("optimizer", MORE)
def test_other_optimizers(optimizer: str) -> None:
    assert departure("mlp", MORE[optimizer]) < 1e-8
    assert departure("mlp", MORE[optimizer], factor=3.0) < 1e-8


def test_with_the_rates_kept_it_departs() -> None:
    """The tests above would pass on anything if the rates made no difference."""
    for optimizer in ("sgd", "adamw", "muon"):
        assert departure("mlp", OPTIMIZERS[optimizer], steps=20, rates="keep") > 1e-3


@pytest.mark.parametrize(
    "options,factor,parts",
    [
        ({"how": "split"}, 2.0, ("copied more often",)),
        ({"how": "zero_out"}, 2.0, ("entries that are new",)),
        ({"how": "split", "shares": "even"}, 1.5, ("copied more often",)),
        ({"how": "split", "shares": "even", "noise": "zero_sum"}, 2.0, ("noise",)),
    ],
)
def test_what_has_no_trajectory_is_refused(options: dict[str, Any], factor: float, parts: tuple[str, ...]) -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, factor, batches("mlp", 1)[0], **options)
    optimizer = torch.optim.SGD(teacher.parameters(), lr=0.1)
    refused(net2net.OptionError, lambda: growth.optimizer(optimizer, rates="trajectory"), "shares='even'", *parts[-1:])


@pytest.mark.parametrize("name", ["RAdam", "Adadelta", "Adafactor", "ASGD"])
def test_optimizers_with_no_exact_rates_are_refused_by_name(name: str) -> None:
    teacher = mlp()
    growth = net2net.widen(teacher, 2.0, batches("mlp", 1)[0], how="split", shares="even")
    optimizer = getattr(torch.optim, name)(teacher.parameters())
    refused(net2net.OptionError, lambda: growth.param_groups(optimizer, "trajectory"), name)
