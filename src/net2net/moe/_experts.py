"""A mixture of experts in plain torch: a top-k router, and experts whose weights are stacked."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from net2net.errors import OptionError

Activation = Callable[[torch.Tensor], torch.Tensor]
_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # torch 2.7


class TopKRouter(nn.Module):
    """Chooses the experts of every token: softmax over the logits of the `top_k` largest, times `scale`.

    Args:
        width: the features of a token.
        experts: how many experts there are.
        top_k: how many of them compute a token.
        normalised: whether the mixing weights of the chosen sum to `scale`, or are their shares among all.
        scale: what mixing weights are multiplied by.
    """

    def __init__(self, width: int, experts: int, top_k: int, *, normalised: bool = True, scale: float = 1.0) -> None:
        super().__init__()
        if not 1 <= top_k <= experts:
            raise OptionError(f"top_k={top_k} of {experts} experts: use a number from 1 to {experts}.")
        self.top_k, self.normalised, self.scale = top_k, normalised, scale
        self.weight = nn.Parameter(torch.empty(experts, width))
        nn.init.normal_(self.weight, std=0.02)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[1]} -> {self.top_k} of {self.weight.shape[0]}"

    def forward(self, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits (tokens, experts), and mixing weights and numbers of the chosen experts (tokens, top_k)."""
        logits = F.linear(tokens, self.weight)
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        weights, chosen = wide.softmax(-1).topk(self.top_k, dim=-1)
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return logits, (weights * self.scale).to(tokens.dtype), chosen


class StackedExperts(nn.Module):
    """Feed-forwards of one size in stacked weights: `down(act(gate x) * up x)`, or `down(act(up x))` without a gate.

    Args:
        width: the features of a token.
        hidden: the units of each expert.
        experts: how many there are.
        act: the activation.
        gated: whether a gate is multiplied in.
        bias: whether each of the products has a bias.
    """

    gate: nn.Parameter | None
    up_bias: nn.Parameter | None
    gate_bias: nn.Parameter | None
    down_bias: nn.Parameter | None

    def __init__(
        self, width: int, hidden: int, experts: int, *, act: Activation = F.silu, gated: bool = True, bias: bool = False
    ) -> None:
        super().__init__()
        self.act = act

        def rows(inputs: int, outputs: int) -> nn.Parameter:
            bound = inputs**-0.5
            return nn.Parameter(torch.empty(experts, outputs, inputs).uniform_(-bound, bound))

        self.up, self.down = rows(width, hidden), rows(hidden, width)
        self.gate = rows(width, hidden) if gated else None
        self.up_bias = nn.Parameter(torch.zeros(experts, hidden)) if bias else None
        self.gate_bias = nn.Parameter(torch.zeros(experts, hidden)) if bias and gated else None
        self.down_bias = nn.Parameter(torch.zeros(experts, width)) if bias else None

    def extra_repr(self) -> str:
        experts, hidden, width = self.up.shape
        return f"{experts} experts, {width} -> {hidden} -> {width}"

    def forward(self, tokens: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The mixture's output (tokens, width), of tokens (tokens, width) and (tokens, top_k) of the other two."""
        if _is_exporting():
            return self._by_all(tokens, chosen, weights)
        flat, order = chosen.flatten().sort(stable=True)
        counts = torch.bincount(flat, minlength=len(self.up)).tolist()
        rows = order // chosen.shape[-1]
        parts = []
        for expert, some in enumerate(torch.split(tokens[rows], counts)):
            if len(some):
                parts.append(self._expert(expert, some))
        mixed = torch.cat(parts) * weights.flatten()[order, None]
        return torch.zeros_like(tokens).index_add(0, rows, mixed.to(tokens.dtype))

    def _by_all(self, tokens: torch.Tensor, chosen: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """The same, with every expert computing every token: a graph can't depend on how many each is given."""

        def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            result = torch.matmul(inputs, weight.transpose(1, 2))
            return result if bias is None else result + bias[:, None]

        shares = (F.one_hot(chosen, len(self.up)).to(weights.dtype) * weights[..., None]).sum(1)
        hidden = linear(tokens, self.up, self.up_bias)
        gate = None if self.gate is None else self.act(linear(tokens, self.gate, self.gate_bias))
        hidden = self.act(hidden) if gate is None else gate * hidden
        mixed = linear(hidden, self.down, self.down_bias) * shares.t()[..., None]
        return mixed.sum(0).to(tokens.dtype)

    def _expert(self, expert: int, tokens: torch.Tensor) -> torch.Tensor:
        def bias(of: nn.Parameter | None) -> torch.Tensor | None:
            return None if of is None else of[expert]

        hidden = F.linear(tokens, self.up[expert], bias(self.up_bias))
        if self.gate is None:
            hidden = self.act(hidden)
        else:
            hidden = self.act(F.linear(tokens, self.gate[expert], bias(self.gate_bias))) * hidden
        return F.linear(hidden, self.down[expert], bias(self.down_bias))


class MixtureOfExperts(nn.Module):
    """A feed-forward of experts: a router chooses `top_k` of them for every token.

    Args:
        width: the features of a token, of inputs and outputs.
        hidden: the units of each expert.
        experts: how many experts there are.
        top_k: how many compute a token.
        act, gated, bias: as for `StackedExperts`.
        shared: a module that computes every token, whose output is added.

    Example:
        >>> layer = MixtureOfExperts(8, 16, experts=4, top_k=2)
        >>> layer(torch.randn(2, 5, 8)).shape
        torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        width: int,
        hidden: int,
        experts: int,
        top_k: int,
        *,
        act: Activation = F.silu,
        gated: bool = True,
        bias: bool = False,
        shared: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.router = TopKRouter(width, experts, top_k)
        self.experts = StackedExperts(width, hidden, experts, act=act, gated=gated, bias=bias)
        self.shared = shared

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        flat = tokens.reshape(-1, tokens.shape[-1])
        _, weights, chosen = self.router(flat)
        result: torch.Tensor = self.experts(flat, chosen, weights).reshape(tokens.shape)
        return result if self.shared is None else result + self.shared(tokens)
