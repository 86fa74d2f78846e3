"""The rule of a gate: how mixing weights and the choice of experts follow from the router's logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

Score = Literal["softmax", "sigmoid"]
AddedTo = Literal["scores", "logits"]
GroupScore = Literal["max", "sum of 2"]
_GROUP_SCORES: tuple[GroupScore, ...] = ("max", "sum of 2")
# Mixing weights are compared in float32 at best, and some gates add 1e-6 to a denominator.
_CLOSE = 1e-3


@dataclass(frozen=True)
class Gate:
    """What a router does, as measured.

    The `top_k` largest of the scores, after `selection` is added, are chosen, within the best `groups[0]` of
    `groups[1]` groups, which are compared by `group_score`. The chosen are mixed by their scores times `scale`;
    `renormalised` ones share it out (of a softmax that is the softmax over the chosen). `weight`, `bias` and
    `selection` are the names of tensors with a row for each expert: of the logits, and of what is added to scores for
    the choice only: to the scores, or to the logits, as `added_to` says.
    """

    score: Score
    renormalised: bool
    top_k: int
    scale: float
    weight: str
    bias: str | None = None
    selection: str | None = None
    groups: tuple[int, int] | None = None
    group_score: GroupScore = "max"
    added_to: AddedTo = "scores"

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors with a row for each expert."""
        return tuple(name for name in (self.weight, self.bias, self.selection) if name is not None)

    def __str__(self) -> str:
        text = f"{self.score}, the {self.top_k} largest" if self.top_k > 1 else f"{self.score}, the largest"
        text += " after a bias" if self.selection else ""
        text += f" in the best {self.groups[0]} of {self.groups[1]} groups" if self.groups else ""
        text += ", renormalised" if self.renormalised else ", not renormalised"
        return text + (f", times {self.scale:g}" if abs(self.scale - 1) > _CLOSE else "")


@dataclass(frozen=True, eq=False)
class Logits:
    """Logits (tokens, experts), and the tensors that they were made with."""

    values: torch.Tensor
    weight: str
    bias: str | None = None


def gate_rule(
    logits: Logits, weights: torch.Tensor, biases: Mapping[str, torch.Tensor], groups: tuple[int, int] | None
) -> Gate | None:
    """The rule by which logits give mixing weights; None if it is none of those known.

    Args:
        logits: of many tokens.
        weights: (tokens, experts): 0 where an expert isn't chosen.
        biases: tensors with a number for each expert, which may be added for the choice.
        groups: how many groups are kept, of how many, where the router has such numbers.
    """
    chosen = weights != 0
    per_token = chosen.sum(1)
    top_k = int(per_token.max())
    if top_k == 0 or int(per_token.min()) != top_k:
        return None
    values, weights = logits.values.double(), weights.double()
    for score, renormalised, scores in _mixed(values, chosen):
        ratio = weights[chosen] / scores[1][chosen]
        scale = float(ratio.median())
        if not float((ratio / scale - 1).abs().max()) < _CLOSE:
            continue
        for selection, added_to, by in _selected(values, scores[0], biases):
            found = Gate(score, renormalised, top_k, scale, logits.weight, logits.bias, selection, added_to=added_to)
            if _are_largest(by, chosen):
                return found
            if groups is None:
                continue
            for kind in _GROUP_SCORES:
                if _are_largest(_within_groups(by, groups, kind), chosen):
                    return replace(found, groups=groups, group_score=kind)
    return None


def _mixed(
    logits: torch.Tensor, chosen: torch.Tensor
) -> Iterator[tuple[Score, bool, tuple[torch.Tensor, torch.Tensor]]]:
    """Every way to make mixing weights: the scores of all experts, and the weights before a scale."""
    kinds: dict[Score, torch.Tensor] = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid()}
    for score, values in kinds.items():
        yield score, True, (values, values / (values * chosen).sum(1, keepdim=True))
        yield score, False, (values, values)


def _selected(
    logits: torch.Tensor, scores: torch.Tensor, biases: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str | None, AddedTo, torch.Tensor]]:
    """Every way to choose: the bias, what it is added to, and the numbers of which the largest are chosen."""
    yield None, "scores", logits
    for name, bias in biases.items():
        yield name, "scores", scores + bias.double().flatten()
    for name, bias in biases.items():
        yield name, "logits", logits + bias.double().flatten()


def _are_largest(values: torch.Tensor, chosen: torch.Tensor) -> bool:
    least = values.masked_fill(~chosen, torch.inf).amin(1)
    others = values.masked_fill(chosen, -torch.inf).amax(1)
    return bool((least >= others - 1e-6).all())


def _within_groups(values: torch.Tensor, groups: tuple[int, int], kind: GroupScore) -> torch.Tensor:
    """The values, with those of experts outside the best groups out of the way."""
    kept, count = groups
    grouped = values.reshape(len(values), count, -1)
    by = grouped.amax(-1) if kind == "max" else grouped.topk(min(2, grouped.shape[-1]), dim=-1).values.sum(-1)
    best = torch.zeros_like(by).scatter(1, by.topk(kept, dim=-1).indices, 1.0).bool()
    return grouped.masked_fill(~best[..., None], -torch.inf).flatten(1)
