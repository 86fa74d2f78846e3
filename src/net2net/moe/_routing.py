"""Replica routing: the teacher's router chooses experts, a second map chooses one replica of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from net2net.errors import OptionError


class ReplicaRouting(nn.Module):
    """Chooses one replica of every expert that the router before it has chosen.

    Where the experts' replicas are equal, the result is the same whatever is chosen, for any router. The mixing weight
    is multiplied by p / p, with p the winner's softmax share among the replicas of its source and the denominator held
    constant: it keeps its value, and the map gets a gradient.

    `balance` is added for the choice only; `load` counts the tokens of each replica in train mode since the last
    `balance_experts`, `total` since growth.

    Args:
        counts: how many replicas each expert has.
        width: the features of a token.

    Source: the choice without an auxiliary loss is Wang et al., arXiv 2408.15664.
    """

    weight: nn.Parameter
    balance: torch.Tensor
    load: torch.Tensor
    total: torch.Tensor
    table: torch.Tensor
    source: torch.Tensor

    def __init__(
        self,
        counts: Sequence[int],
        width: int,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.counts = tuple(counts)
        replicas = sum(self.counts)
        self.weight = nn.Parameter(torch.empty(replicas, width, device=device, dtype=dtype))
        nn.init.normal_(self.weight, std=width**-0.5)
        self.register_buffer("balance", torch.zeros(replicas, device=device))
        self.register_buffer("load", torch.zeros(replicas, device=device, dtype=torch.long))
        self.register_buffer("total", torch.zeros(replicas, device=device, dtype=torch.long))
        source = torch.repeat_interleave(torch.tensor(self.counts))
        # The replicas of each expert, filled up with -1.
        table = torch.full((len(self.counts), max(self.counts)), -1)
        for expert in range(len(self.counts)):
            own = torch.nonzero(source == expert).flatten()
            table[expert, : len(own)] = own
        self.register_buffer("table", table.to(device), persistent=False)
        self.register_buffer("source", source.to(device), persistent=False)

    def extra_repr(self) -> str:
        return f"{len(self.counts)} -> {sum(self.counts)} experts, tokens of {self.weight.shape[1]} features"

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The replicas that compute, and what their mixing weights are multiplied by.

        Args:
            tokens: (..., width).
            chosen: (..., K), the numbers of the chosen experts.

        Returns:
            The numbers of replicas, and factors whose value is 1, both of the shape of `chosen`.
        """
        candidates = self.table[chosen]  # (..., K, most replicas)
        there = candidates >= 0
        candidates = candidates.clamp(min=0)
        logits = F.linear(tokens, self.weight.to(tokens.dtype)).float()
        scores = logits.gather(-1, candidates.flatten(-2)).reshape(candidates.shape)
        with torch.no_grad():
            biased = scores + self.balance.float()[candidates]
            winner = biased.masked_fill(~there, -torch.inf).argmax(-1, keepdim=True)
            replicas = candidates.gather(-1, winner).squeeze(-1)
            if self.training:
                one = torch.ones_like(replicas.flatten())
                self.load.index_add_(0, replicas.flatten(), one)
                self.total.index_add_(0, replicas.flatten(), one)
        # Not through the log of a probability, nor p / p of a p that underflows: exp(0) is 1 for every score.
        log_share = scores.masked_fill(~there, -torch.inf).log_softmax(-1).gather(-1, winner).squeeze(-1)
        return replicas, (log_share - log_share.detach()).exp()


class ReplicaExperts(nn.Module):
    """Experts whose weights are stacked, with replicas: the call of the teacher's class, given numbers of replicas.

    Args:
        experts: a module that is called with tokens, the numbers of the experts chosen for each and their weights.
        routing: chooses the replicas.
        slots: where these three are among the arguments of a call: positions or keywords.
    """

    def __init__(
        self, experts: nn.Module, routing: ReplicaRouting, slots: tuple[int | str, int | str, int | str]
    ) -> None:
        super().__init__()
        self.experts, self.routing, self.slots = experts, routing, slots

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        given: dict[int | str, Any] = dict([*enumerate(args), *kwargs.items()])
        tokens, chosen, weights = (given[slot] for slot in self.slots)
        replicas, factors = self.routing(tokens, chosen)
        _, number, weight = self.slots
        given |= {number: replicas.to(chosen.dtype), weight: weights * factors.to(weights.dtype)}
        return self.experts(
            *(given[k] for k in range(len(args))), **{k: v for k, v in given.items() if isinstance(k, str)}
        )


class ReplicatedExpert(nn.Module):
    """Replicas of one expert in its place: each token that it is given goes to one of them.

    Args:
        replicas: modules that map tokens (..., features) to (..., features'), each for itself.
        routing: chooses among them.
    """

    def __init__(self, replicas: Sequence[nn.Module], routing: ReplicaRouting) -> None:
        super().__init__()
        self.replicas, self.routing = nn.ModuleList(replicas), routing

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        flat = tokens.reshape(-1, tokens.shape[-1])
        chosen, factors = self.routing(flat, torch.zeros(len(flat), 1, dtype=torch.long, device=flat.device))
        parts, places = [], []
        for number, replica in enumerate(self.replicas):
            rows = torch.nonzero(chosen[:, 0] == number).flatten()
            parts.append(replica(flat[rows]))
            places.append(rows)
        together = torch.cat(parts)
        result = together.new_zeros(together.shape).index_copy(0, torch.cat(places), together)
        mixed: torch.Tensor = result * factors.to(result.dtype)
        return mixed.reshape(*tokens.shape[:-1], result.shape[-1])


@torch.no_grad()
def balance_experts(model: nn.Module, rate: float = 0.01) -> dict[str, float]:
    """Move tokens from replicas that get many to their siblings that get few: call it after each optimizer step.

    The bias of each replica goes up by `rate` if it has had fewer tokens than the mean of the replicas of its source
    since the last call, and down if it has had more. No gradient flows through it, and mixing weights don't change.
    Where `torch.distributed` runs, the counts of all ranks are added.

    Args:
        model: a network with replica routing, in train mode.
        rate: of the bias, in units of the second map's logits, whose spread at growth is 1.

    Returns:
        For each routing, by path: the largest share of its source's tokens that a replica had, times the number of
        replicas; 1 is even. Nothing for those that have seen no tokens.

    Raises:
        OptionError: the network has no replica routing, or the rate is negative.

    Source: Wang et al., arXiv 2408.15664, algorithm 1.

    Example:
        >>> model = nn.Sequential(ReplicatedExpert([nn.Linear(4, 4), nn.Linear(4, 4)], ReplicaRouting([2], 4)))
        >>> _ = model(torch.ones(10, 4))
        >>> balance_experts(model)
        {'0.routing': 2.0}
        >>> sorted(round(b, 2) for b in model[0].routing.balance.tolist())
        [-0.01, 0.01]
    """
    if not rate >= 0:
        raise OptionError(f"rate={rate!r} is not a rate of a bias; use a number from 0 up, such as 0.01.")
    routings = {path: m for path, m in model.named_modules() if isinstance(m, ReplicaRouting)}
    if not routings:
        raise OptionError(
            f"{type(model).__name__} has no replica routing to balance. It is what net2net.upcycle makes by default."
        )
    busiest = {}
    for path, routing in routings.items():
        load = routing.load.clone()
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(load)
        counts = torch.bincount(routing.source).to(load)
        of_source = torch.zeros_like(counts).index_add(0, routing.source, load)
        mean = (of_source / counts)[routing.source]
        routing.balance += rate * torch.sign(mean - load).to(routing.balance)
        routing.load.zero_()
        several = (counts[routing.source] > 1) & (mean > 0)
        if several.any():
            busiest[path] = float((load[several] / mean[several]).max())
    return busiest
