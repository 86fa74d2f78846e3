"""Mixtures of experts of every kind of gate, in both forms, small enough to test all of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

WIDTH, HIDDEN = 6, 7


@dataclass(frozen=True)
class Rule:
    """A gate: its scores, what is chosen by, and how the chosen are mixed."""

    score: str = "softmax"
    renormalised: bool = True
    bias: bool = False
    groups: tuple[int, int] | None = None
    scale: float = 1.0
    dense: bool = False

    def __str__(self) -> str:
        words = [self.score, "renormalised" if self.renormalised else "plain"]
        words += ["bias"] if self.bias else []
        words += [f"{self.groups[0]}of{self.groups[1]}"] if self.groups else []
        words += [f"x{self.scale:g}"] if self.scale != 1 else []
        return "-".join(words)


RULES = (
    Rule(),
    Rule(renormalised=False),
    Rule("sigmoid"),
    Rule("sigmoid", renormalised=False),
    Rule("sigmoid", bias=True, scale=2.5),
    Rule("softmax", renormalised=False, bias=True),
    Rule("sigmoid", bias=True, groups=(2, 4), scale=2.5),
)


class Router(nn.Module):
    """Gives logits, mixing weights and the numbers of the chosen experts."""

    def __init__(self, rule: Rule, experts: int, top_k: int) -> None:
        super().__init__()
        self.rule, self.top_k = rule, top_k
        self.topk_group, self.n_group = rule.groups or (1, 1)
        self.weight = nn.Parameter(torch.randn(experts, WIDTH))
        if rule.bias:
            self.register_buffer("correction", 0.2 * torch.randn(experts))

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = F.linear(tokens, self.weight)
        scores = logits.softmax(-1) if self.rule.score == "softmax" else logits.sigmoid()
        by = scores + self.correction if self.rule.bias else scores
        if self.n_group > 1:
            grouped = by.reshape(len(by), self.n_group, -1)
            best = grouped.topk(2, -1).values.sum(-1).topk(self.topk_group, -1).indices
            keep = torch.zeros(len(by), self.n_group, device=by.device).scatter(1, best, 1.0).bool()
            by = grouped.masked_fill(~keep[..., None], -torch.inf).flatten(1)
        chosen = by.topk(self.top_k, -1).indices
        weights = scores.gather(-1, chosen)
        if self.rule.renormalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, weights * self.rule.scale, chosen


class Stacked(nn.Module):
    """Experts in 3-D tensors, which are called with numbers and weights."""

    def __init__(self, experts: int) -> None:
        super().__init__()
        self.num_experts = experts
        self.up = nn.Parameter(torch.randn(experts, HIDDEN, WIDTH) / WIDTH**0.5)
        self.up_bias = nn.Parameter(torch.randn(experts, HIDDEN) / 4)
        self.down = nn.Parameter(torch.randn(experts, WIDTH, HIDDEN) / HIDDEN**0.5)
        self.down_bias = nn.Parameter(torch.randn(experts, WIDTH) / 4)

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(tokens)
        for expert in range(self.num_experts):
            rows, slot = torch.where(chosen == expert)
            hidden = F.gelu(F.linear(tokens[rows], self.up[expert], self.up_bias[expert]))
            mixed = F.linear(hidden, self.down[expert], self.down_bias[expert]) * weights[rows, slot, None]
            out = out.index_add(0, rows, mixed)
        return out


class StackedLayer(nn.Module):
    def __init__(self, rule: Rule, experts: int, top_k: int) -> None:
        super().__init__()
        self.gate, self.experts = Router(rule, experts, top_k), Stacked(experts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        _, weights, chosen = self.gate(flat)
        return x + self.experts(flat, chosen, weights).reshape(x.shape)


class ListLayer(nn.Module):
    """Experts in a list; with `rule.dense` each computes every token."""

    def __init__(self, rule: Rule, experts: int, top_k: int) -> None:
        super().__init__()
        self.num_experts = experts
        self.gate = Router(rule, experts, top_k)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH)) for _ in range(experts)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.reshape(-1, x.shape[-1])
        _, weights, chosen = self.gate(flat)
        out = torch.zeros_like(flat)
        for number in range(self.num_experts):
            expert = self.experts[number]
            if self.gate.rule.dense:
                out = out + (weights * (chosen == number)).sum(-1, keepdim=True) * expert(flat)
            else:
                rows, slot = torch.where(chosen == number)
                out = out.index_add(0, rows, expert(flat[rows]) * weights[rows, slot, None])
        return x + out.reshape(x.shape)


FORMS = {"stacked": StackedLayer, "list": ListLayer}


def network(form: str, rule: Rule, experts: int, top_k: int, dtype: torch.dtype = torch.float64) -> nn.Module:
    """A small network with a mixture at "1" whose weights and biases are those of no initialiser."""
    return nn.Sequential(nn.Linear(4, WIDTH), FORMS[form](rule, experts, top_k), nn.Linear(WIDTH, 3)).to(dtype)


def tokens(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(4, 12, 4, generator=torch.Generator().manual_seed(3)).to(dtype)
