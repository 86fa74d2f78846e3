"""A network with replicas of experts behind its own routers: its modules, and what its plan says of its tensors."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net.capture import structural_copy
from net2net.moe._counts import Counts
from net2net.moe._mixtures import Mixture, Tokens
from net2net.moe._routing import ReplicaExperts, ReplicaRouting, ReplicatedExpert
from net2net.plan import AxisMap, Plan, TensorPlan
from net2net.proof import NewUnits

# What the number of its experts is called in a module that holds them.
EXPERT_COUNT = re.compile(r"(n|num|num_local|n_routed|moe_num)_experts|experts_count|expert_count")


def source_of(counts: Counts) -> np.ndarray:
    """Which expert each replica copies: the replicas of one stand side by side."""
    return np.repeat(np.arange(len(counts)), counts)


def along_experts(counts: Counts) -> AxisMap:
    """The axis of experts of a stacked tensor. A replica has its part of the tokens, and so of the gradient."""
    return AxisMap(source_of(counts), gradient=1.0 / np.repeat(counts, counts))


def set_replicas(student: nn.Module, mixture: Mixture, counts: Counts) -> dict[str, tuple[int, int]]:
    """Put replicas and their routing into a copy of the teacher, with tensors that hold no numbers yet.

    Returns:
        The attributes that say how many experts there are, by path: before and after.
    """
    if mixture.stack:
        return _set_stack(student, mixture, counts)
    for member, count in zip(mixture.members, counts, strict=True):
        if count > 1:
            expert = student.get_submodule(member)
            replicas = [structural_copy(expert, lambda _, t: empty(t)) for _ in range(count)]
            like = next(expert.parameters())
            routing = _routing((count,), mixture.width, like).train(expert.training)
            student.set_submodule(member, ReplicatedExpert(replicas, routing).train(expert.training))
    return {}


def _set_stack(student: nn.Module, mixture: Mixture, counts: Counts) -> dict[str, tuple[int, int]]:
    experts: Any = student.get_submodule(mixture.stack)
    like = next(experts.parameters(recurse=False))
    for name, parameter in list(experts.named_parameters(recurse=False)):
        grown = torch.empty(sum(counts), *parameter.shape[1:], dtype=parameter.dtype, device="meta")
        setattr(experts, name, nn.Parameter(grown, parameter.requires_grad))
    changed = {}
    for name, value in vars(experts).items():
        if EXPERT_COUNT.fullmatch(name) and value == mixture.size:
            changed[f"{mixture.stack}.experts.{name}"] = (value, sum(counts))
    for path, (_, after) in changed.items():
        setattr(experts, path.rpartition(".")[2], after)
    assert mixture.slots is not None
    wrapper = ReplicaExperts(experts, _routing(counts, mixture.width, like), mixture.slots)
    for module in (wrapper, wrapper.routing):
        module.training = experts.training
    student.set_submodule(mixture.stack, wrapper)
    return changed


def _routing(counts: Counts, width: int, like: nn.Parameter) -> ReplicaRouting:
    routing = ReplicaRouting(counts, width, device=like.device, dtype=like.dtype)
    routing.weight.requires_grad_(like.requires_grad)
    return routing


def empty(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of its own in the place of another: a parameter without numbers; buffers as they are."""
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(torch.empty_like(tensor, device="meta"), tensor.requires_grad)
    return tensor.detach().clone()


def replica_tensors(
    model: nn.Module, mixture: Mixture, counts: Counts, tokens: Tokens, seed: int
) -> tuple[dict[str, TensorPlan], tuple[str, ...]]:
    """How the tensors of replicas and of their routing are made, and the names that are gone.

    Args:
        model: the teacher.
        mixture: what grows.
        counts: the replicas of each expert.
        tokens: what each expert is given on the example inputs; the second map is drawn to share them out.
        seed: of the draw.
    """
    tensors: dict[str, TensorPlan] = {}
    removed = []
    if mixture.stack:
        axis = along_experts(counts)
        experts = model.get_submodule(mixture.stack)
        for name, p in experts.named_parameters(recurse=False):
            old, new = f"{mixture.stack}.{name}", f"{mixture.stack}.experts.{name}"
            shape = (sum(counts), *p.shape[1:])
            tensors[new] = TensorPlan(shape, (axis, *[None] * (p.dim() - 1)), source=old)
            removed.append(old)
        for name, t in _deeper(experts):
            old, new = f"{mixture.stack}.{name}", f"{mixture.stack}.experts.{name}"
            tensors[new] = TensorPlan(tuple(t.shape), (None,) * t.dim(), source=old)
            removed.append(old)
        tensors |= _second_map(mixture.stack, mixture, counts, tokens, seed, removed[0])
        return tensors, tuple(removed)
    for k, (member, count) in enumerate(zip(mixture.members, counts, strict=True)):
        if count == 1:
            continue
        expert = model.get_submodule(member)
        named = [(n, t) for n, t in expert.named_parameters()] + [
            (n, b) for n, b in expert.named_buffers() if n in expert.state_dict()
        ]
        for name, t in named:
            share = AxisMap(np.arange(t.shape[0]), gradient=np.full(t.shape[0], 1 / count)) if t.dim() else None
            for replica in range(count):
                axes = (share, *[None] * (t.dim() - 1)) if t.dim() else ()
                tensors[f"{member}.replicas.{replica}.{name}"] = TensorPlan(
                    tuple(t.shape), axes, source=f"{member}.{name}"
                )
            removed.append(f"{member}.{name}")
        mine = {0: tokens[k]} if k in tokens else {}
        tensors |= _second_map(member, mixture, (count,), mine, seed, f"{member}.{named[0][0]}")
    return tensors, tuple(removed)


def _deeper(experts: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a module of stacked experts that have no axis of experts: those of modules in it, and buffers."""
    own = {name for name, _ in experts.named_parameters(recurse=False)}
    yield from ((n, t) for n, t in experts.named_parameters() if n not in own)
    yield from ((n, b) for n, b in experts.named_buffers() if n in experts.state_dict())


def _second_map(
    path: str, mixture: Mixture, counts: Counts, tokens: Tokens, seed: int, relative: str
) -> dict[str, TensorPlan]:
    """The tensors of a routing: its rows, and its bias and counters at 0."""
    source = relative if mixture.gate is None else mixture.gate.weight
    name = f"{path}.routing.weight"
    rows = second_map(counts, mixture.width, tokens, zlib.crc32(f"{seed} {name}".encode()))
    found = {name: TensorPlan(rows.shape, (None, None), source=source, fill="values", new=True, values=rows)}
    zero = np.zeros(1)
    for counter in ("balance", "load", "total"):
        found[f"{path}.routing.{counter}"] = TensorPlan(
            (sum(counts),), (None,), source=source, fill="values", new=True, values=zero
        )
    return found


def second_map(counts: Counts, width: int, tokens: Tokens, seed: int) -> np.ndarray:
    """Rows that share out the tokens of each expert among its replicas: logits of spread 1 around 0.

    Tokens of a trained network have much in common; a row that reads it would send all of them to one replica. So each
    row is drawn at random and loses what it has of the mean token of its expert.

    Args:
        counts: the replicas of each expert.
        width: the features of a token.
        tokens: by expert, (tokens, width); experts without any are treated as if they had all.
        seed: of the draw.
    """
    generator = torch.Generator().manual_seed(seed)
    some = [t.double().cpu() for t in tokens.values() if len(t)]
    every = torch.cat(some) if some else torch.zeros(0, width, dtype=torch.float64)
    rows = []
    for expert, count in enumerate(counts):
        drawn = torch.randn(count, width, generator=generator, dtype=torch.float64)
        mine = tokens[expert].double().cpu() if expert in tokens and len(tokens[expert]) else every
        if len(mine):
            mean = mine.mean(0)
            drawn -= torch.outer(drawn @ mean, mean) / mean.square().sum().clamp(min=1e-30)
            spread = float((mine @ drawn.T).square().mean().sqrt())
            drawn /= spread if spread > 1e-12 else width**0.5
        else:
            drawn /= width**0.5
        rows.append(drawn)
    return torch.cat(rows).float().numpy()


def new_units(plan: Plan) -> list[NewUnits]:
    """Where replicas stand in the tensors of a plan, but for the first of each expert."""
    found = []
    for name, tensor in plan.tensors.items():
        stacked = tensor.axes[0] if tensor.axes and not tensor.new else None
        if stacked is not None and stacked.has_copies:
            source = stacked.source
            first = np.zeros(len(source), dtype=bool)
            first[np.unique(source, return_index=True)[1]] = True
            several = np.isin(source, source[~first])
            owner = name.rpartition(".")[0]
            found.append(NewUnits(name, owner, 0, np.flatnonzero(~first), np.flatnonzero(first & several), routed=True))
    return found
