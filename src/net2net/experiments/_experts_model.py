"""A language model of bytes whose feed-forwards are mixtures, balanced without a loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from net2net.experiments._experts import ExpertSize
from net2net.experiments._language import Language
from net2net.moe import MixtureOfExperts, ReplicaRouting, balance_experts

# How far a step moves the bias of an expert's score, which is between 0 and 1.
BALANCE = 1e-3


class BalancedRouter(nn.Module):
    """Chooses the `top_k` experts with the largest sigmoid after a bias; the mixing weights leave the bias out.

    Source: Wang et al., arXiv 2408.15664.
    """

    balance: torch.Tensor

    def __init__(self, width: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.weight = nn.Parameter(torch.empty(experts, width))
        nn.init.normal_(self.weight, std=0.02)
        self.register_buffer("balance", torch.zeros(experts))
        self.load: torch.Tensor | None = None  # of the last batch in train mode

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (tokens, experts), and mixing weights and numbers of the chosen experts (tokens, top_k)."""
        logits = F.linear(tokens, self.weight)
        scores = logits.sigmoid()
        chosen = (scores.detach() + self.balance).topk(self.top_k, dim=-1).indices
        weights = scores.gather(-1, chosen)
        if self.training:
            self.load = torch.bincount(chosen.flatten(), minlength=len(self.balance))
        return logits, weights / weights.sum(-1, keepdim=True), chosen


def build(size: ExpertSize, vocabulary: int, experts: int, seed: int) -> nn.Module:
    """A model with random weights, fixed by the seed; with 0 experts it is dense."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Language(size.shape, vocabulary)
        for block in model.blocks if experts else ():
            layer = MixtureOfExperts(size.shape.width, size.shape.feed_forward // 2, experts, size.top_k)
            layer.router = BalancedRouter(size.shape.width, experts, size.top_k)  # type: ignore[assignment]  # called alike
            block.feed_forward = layer
    return model


def balanced(model: nn.Module) -> None:
    """Move the biases of a model's routers, after a step; and those of its replicas, where it has some."""
    for router in model.modules():
        if isinstance(router, BalancedRouter) and router.load is not None:
            load = router.load.to(router.balance)
            router.balance += BALANCE * torch.sign(load.mean() - load)
    if any(isinstance(module, ReplicaRouting) for module in model.modules()):
        balance_experts(model)
