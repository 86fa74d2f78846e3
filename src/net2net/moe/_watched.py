"""Have copies of experts parted, and does each have tokens? Measured in a network as it is now."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import nn

from net2net.capture import Inputs
from net2net.growth import measures
from net2net.moe._change import Upcycling
from net2net.moe._mixtures import chosen_together, look
from net2net.moe._routing import ReplicaExperts, ReplicaRouting, ReplicatedExpert
from net2net.plan import Change
from net2net.report import table

# The tensors of one expert.
Weights = list[torch.Tensor]


@dataclass(frozen=True)
class Watched:
    """Replicas behind one routing: the least distance of two of one expert, relative to their size, and for each
    replica its tokens since growth, relative to the mean of the replicas of its expert (1 is even; None where
    these had no tokens)."""

    distance: float
    load: tuple[float | None, ...]


def watch_replicas(model: nn.Module) -> dict[str, Watched]:
    """How far replicas have parted, and how their tokens are shared out, by the path of their routing.

    No forward pass is needed: the routing counts its tokens in train mode. Only experts with several replicas count.

    Args:
        model: a network with replica routing; others give an empty dict.

    Example:
        >>> model = nn.Sequential(ReplicatedExpert([nn.Linear(2, 2), nn.Linear(2, 2)], ReplicaRouting([2], 2)))
        >>> _ = model(torch.eye(2)), model[0].replicas[1].load_state_dict(model[0].replicas[0].state_dict())
        >>> watched = watch_replicas(model)["0.routing"]
        >>> watched.distance, sum(watched.load)
        (0.0, 2.0)
    """
    found = {}
    for path, module in model.named_modules():
        if isinstance(module, ReplicaExperts | ReplicatedExpert):
            source, weights = _replicas(module)
            routing = f"{path}.routing" if path else "routing"
            found[routing] = Watched(_closest(source, weights), _shares(module.routing))
    return found


def replica_figures(model: nn.Module) -> dict[str, float]:
    """What a log of training says of all replicas: their least distance, and the least and the largest load.

    Example:
        >>> replica_figures(nn.Linear(2, 2))
        {}
    """
    watched = watch_replicas(model).values()
    if not watched:
        return {}
    loads = [share for one in watched for share in one.load if share is not None]
    figures = {"replicas/twin_distance": min(one.distance for one in watched)}
    return figures | ({"replicas/least_load": min(loads), "replicas/largest_load": max(loads)} if loads else {})


def _replicas(module: ReplicaExperts | ReplicatedExpert) -> tuple[list[int], list[Weights]]:
    """Which expert each replica is of, and its weights; replicas may have replicas."""
    if isinstance(module, ReplicatedExpert):
        leaves: list[Weights] = [list(leaf.parameters()) for leaf in _leaves(module)]
        return [0] * len(leaves), leaves
    source = module.routing.source
    inner = module.experts
    while isinstance(inner, ReplicaExperts):
        source, inner = source[inner.routing.source], inner.experts
    return source.tolist(), _rows(inner)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    if isinstance(module, ReplicatedExpert):
        for replica in module.replicas:
            yield from _leaves(replica)
    else:
        yield module


def _rows(stack: nn.Module) -> list[Weights]:
    """The weights of each of stacked experts."""
    tensors = list(stack.parameters(recurse=False))
    return [list(rows) for rows in zip(*(t.detach().unbind(0) for t in tensors), strict=True)]


def _pairs(source: Sequence[int]) -> Iterator[tuple[int, int]]:
    groups: dict[int, list[int]] = {}
    for expert, of in enumerate(source):
        groups.setdefault(of, []).append(expert)
    for group in groups.values():
        yield from combinations(group, 2)


@torch.no_grad()
def _closest(source: Sequence[int], weights: Sequence[Weights]) -> float:
    """The least distance of two experts with one source.

    Each tensor counts in units of its size: copies that share out their output unevenly are twins as well.
    """
    distances = [_distance(weights[i], weights[j]) for i, j in _pairs(source)]
    return min(distances, default=1.0)


def _distance(one: Weights, other: Weights) -> float:
    """The root of the mean square difference, relative to the entries' size."""
    squares = [
        t.numel() * float((_of_size_1(t) - _of_size_1(u)).square().sum()) for t, u in zip(one, other, strict=True)
    ]
    return math.sqrt(sum(squares) / sum(t.numel() for t in one))


def _of_size_1(tensor: torch.Tensor) -> torch.Tensor:
    return F.normalize(tensor.float().flatten(), dim=0, eps=1e-30)


def _shares(routing: ReplicaRouting) -> tuple[float | None, ...]:
    return relative_load(routing.source.tolist(), routing.total.tolist())


def relative_load(source: Sequence[int], tokens: Sequence[int]) -> tuple[float | None, ...]:
    """The tokens of each copy of an expert that has several, relative to the mean of them.

    Example:
        >>> relative_load([0, 0, 1, 2, 2], [30, 10, 7, 0, 0])
        (1.5, 0.5, None, None)
    """
    groups: dict[int, list[int]] = {}
    for of, count in zip(source, tokens, strict=True):
        groups.setdefault(of, []).append(count)
    several = [group for group in groups.values() if len(group) > 1]
    return tuple(count * len(group) / sum(group) if sum(group) else None for group in several for count in group)


@measures("upcycling")
def upcycled_now(changes: Sequence[Change], student: nn.Module, inputs: Inputs) -> str:
    """The table of copies of experts in the report of a growth, measured on its example inputs."""
    seen = look(student, inputs)
    rows = []
    for change in changes:
        assert isinstance(change, Upcycling)
        mixture = seen.mixtures.found.get(change.experts)
        if mixture is None or mixture.size != change.after:
            continue  # a later step of the growth has changed it
        if mixture.stack:
            weights = _rows(student.get_submodule(mixture.stack))
        else:
            weights = [list(student.get_submodule(member).parameters()) for member in mixture.members]
        source, given = change.units.source.tolist(), seen.tokens[change.experts]
        load = relative_load(source, [len(given.get(expert, ())) for expert in range(mixture.size)])
        shares = [share for share in load if share is not None]
        together = chosen_together(given, change.units.source)
        rows.append(
            [
                change.experts,
                str(len(load)),
                f"{_closest(source, weights):.1%}",
                f"{min(shares):.2f} to {max(shares):.2f}" if shares else "no tokens",
                "always" if together is None else f"{together:.1%}",
            ]
        )
    heads = ["copies of experts in", "copies", "least distance", "load (1 is even)", "chosen together"]
    return table(heads, rows, (1, 2, 3, 4)) if rows else ""
