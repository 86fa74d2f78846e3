"""How useful each expert is: which of them more replicas are worth."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import nn

from net2net.capture import Example
from net2net.errors import OptionError
from net2net.moe._mixtures import Mixture, mixtures

Kind = Literal["gradient", "gradient x weight", "weight"]
KINDS: tuple[Kind, ...] = ("gradient", "gradient x weight", "weight")


def expert_scores(
    model: nn.Module, batches: Iterable[Any], loss: Callable[[nn.Module, Any], torch.Tensor], kind: str = "gradient"
) -> dict[str, torch.Tensor]:
    """The utility of every expert, for `upcycle(..., scores=...)`.

    Args:
        model: a network with mixtures of experts, in the mode in which it is trained. Its weights and gradients are
            not changed; what a forward pass in train mode changes (statistics, counters) is.
        batches: some batches, ten in the paper; the first has to be one that `loss` takes.
        loss: the model and a batch -> a number, or the output of a transformers model, which has one.
        kind: "gradient": the squared norm of the gradient, averaged over the batches, of all weights of an expert;
            "gradient x weight": its norm times that of the weights; "weight": the norm of the weights.

    Returns:
        For each mixture, by name, a number per expert.

    Raises:
        OptionError: there is no mixture, no batch, or no such kind, or the experts don't train.

    Source: Expert Upcycling, arXiv 2604.19835, section 3 (the first is its default).

    Example:
        >>> from net2net.moe import MixtureOfExperts
        >>> model = nn.Sequential(MixtureOfExperts(4, 8, experts=3, top_k=1))
        >>> scores = expert_scores(model, [torch.randn(9, 4)], lambda m, x: m(x).square().mean())
        >>> {name: tuple(s.shape) for name, s in scores.items()}
        {'0.experts': (3,)}
    """
    if kind not in KINDS:
        raise OptionError(f"kind={kind!r} is not known; use one of {', '.join(KINDS)}.")
    given = list(batches)
    if not given:
        raise OptionError("expert_scores needs batches to average gradients over; there are none.")
    found = _found(model, given[0], loss)
    tensors = {name: _per_expert(model, mixture) for name, mixture in found.items()}
    flat = [p for experts in tensors.values() for some in experts for p, _ in some]
    frozen = [p for p in flat if not p.requires_grad]
    if frozen and kind != "weight":
        raise OptionError("the experts don't train (requires_grad is off) and have no gradients; use kind='weight'.")
    means = {id(p): torch.zeros_like(p) for p in flat}
    distinct = list({id(p): p for p in flat}.values())
    for batch in given if kind != "weight" else ():
        with torch.enable_grad():
            gradients = torch.autograd.grad(_number(loss(model, batch)), distinct, allow_unused=True)
        for p, gradient in zip(distinct, gradients, strict=True):
            if gradient is not None:
                means[id(p)] += gradient / len(given)
    return {name: torch.stack([_score(some, means, kind) for some in experts]) for name, experts in tensors.items()}


Part = tuple[nn.Parameter, int | None]


def _per_expert(model: nn.Module, mixture: Mixture) -> list[list[Part]]:
    """The parameters of each expert: whole ones, or a row of stacked ones."""
    if mixture.stack:
        stacked = list(model.get_submodule(mixture.stack).parameters(recurse=False))
        return [[(p, k) for p in stacked] for k in range(mixture.size)]
    return [[(p, None) for p in model.get_submodule(member).parameters()] for member in mixture.members]


def _score(parts: list[Part], means: dict[int, torch.Tensor], kind: str) -> torch.Tensor:
    def squared(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
        return torch.stack([t.detach().double().square().sum() for t in tensors]).sum()

    weights = squared(p if row is None else p[row] for p, row in parts)
    gradients = squared(means[id(p)] if row is None else means[id(p)][row] for p, row in parts)
    return {"gradient": gradients, "weight": weights.sqrt(), "gradient x weight": (gradients * weights).sqrt()}[kind]


def _number(value: Any) -> torch.Tensor:
    number: torch.Tensor = getattr(value, "loss", value)
    return number


def _found(model: nn.Module, batch: Any, loss: Callable[[nn.Module, Any], torch.Tensor]) -> dict[str, Mixture]:
    """The mixtures, as they act on what the loss gives the model."""
    calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = model.register_forward_pre_hook(lambda _, args, kwargs: calls.append((args, kwargs)), with_kwargs=True)
    try:
        with torch.no_grad():
            loss(model, batch)
    finally:
        handle.remove()
    if not calls:
        raise OptionError("loss(model, batch) doesn't call the model, so nothing can be scored.")
    args, kwargs = calls[0]
    found = mixtures(model, Example(args, kwargs)).found
    if not found:
        raise OptionError(f"{type(model).__name__} has no mixture of experts to score.")
    return found
