"""How many replicas each expert gets."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from net2net.analysis import new_size
from net2net.errors import OptionError, SizeError, UnknownNameError
from net2net.moe._mixtures import Mixture, Mixtures

Counts = tuple[int, ...]
Wanted = int | float | str | Sequence[int]
Experts = Wanted | Mapping[str, Wanted]
Scores = Mapping[str, torch.Tensor]


def requested(mixtures: Mixtures, experts: Experts, scores: Scores | None, cap: int) -> dict[str, Counts]:
    """The number of replicas of every expert of each mixture that a request means.

    Raises:
        UnknownNameError, SizeError, OptionError: a key, a size or the scores don't fit.
    """
    if isinstance(cap, bool) or not isinstance(cap, int) or cap < 1:
        raise OptionError(f"cap={cap!r} is not a number of further replicas of an expert; use 1 or more.")
    wanted: dict[str, Wanted] = {}
    if isinstance(experts, Mapping):
        for key, size in experts.items():
            for name in _matching(mixtures, key):
                if wanted.setdefault(name, size) != size:
                    raise OptionError(f"'{key}' asks for {size} experts in '{name}', another key for {wanted[name]}.")
    else:
        wanted = dict.fromkeys(mixtures.found, experts)
    if scores is not None:
        for name in set(scores) - set(mixtures.found):
            raise UnknownNameError(f"scores= has '{name}', which is no mixture. There are {list(mixtures.found)}.")
        for name in set(wanted) - set(scores):
            raise OptionError(f"scores= has nothing for '{name}': give net2net.expert_scores(model, batches, loss).")
    found = {}
    for name, size in wanted.items():
        counts = _counts(mixtures.found[name], size, None if scores is None else scores[name], cap)
        if sum(counts) > len(counts):
            found[name] = counts
    if not found:
        raise SizeError("nothing would grow: every mixture has as many experts as asked for. Ask for more.")
    return found


def _matching(mixtures: Mixtures, key: str) -> list[str]:
    names = [key] if key in mixtures.found else fnmatch.filter(mixtures.found, key)
    if names:
        return names
    for name in [key] if key in mixtures.unknown else fnmatch.filter(mixtures.unknown, key):
        raise OptionError(f"'{name}' can't be upcycled: {mixtures.unknown[name]}.")
    near = difflib.get_close_matches(key, mixtures.found, n=3, cutoff=0.4) or list(mixtures.found)[:5]
    raise UnknownNameError(f"there is no mixture '{key}'. Did you mean {' or '.join(map(repr, near))}?")


def _counts(mixture: Mixture, wanted: Wanted, scores: torch.Tensor | None, cap: int) -> Counts:
    """The replicas of each expert, itself included."""
    name, size = mixture.name, mixture.size
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        return _listed(name, size, list(wanted), scores)
    total = new_size(wanted, size, name)
    if total < size:
        raise SizeError(f"'{name}' has {size} experts; {total} are fewer. Ask for more than {size}.")
    if scores is None:
        return tuple(total // size + (k < total % size) for k in range(size))
    return by_utility(scores, total, cap, name)


def _listed(name: str, size: int, counts: list[Any], scores: torch.Tensor | None) -> Counts:
    if scores is not None:
        raise OptionError(f"'{name}': scores= say how many replicas each expert gets, and so does the list {counts}.")
    if len(counts) != size:
        raise SizeError(f"'{name}' has {size} experts, and {counts} says how often {len(counts)} are there.")
    if not all(isinstance(c, int) and not isinstance(c, bool) and c >= 1 for c in counts):
        raise SizeError(f"'{name}': {counts} isn't a list of numbers from 1 up: each expert stays at least once.")
    return tuple(counts)


def by_utility(scores: torch.Tensor, total: int, cap: int, name: str) -> Counts:
    """Counts for a total: the best expert gets `cap` further replicas, then the next one, until none are left.

    Raises:
        SizeError: so many replicas can't be handed out.
        OptionError: the scores aren't a finite number for each expert.

    Source: Expert Upcycling, arXiv 2604.19835, section 3.

    Example:
        >>> by_utility(torch.tensor([0.1, 0.9, 0.3, 0.2]), 8, 3, "experts")
        (1, 4, 2, 1)
    """
    size = len(scores)
    if scores.dim() != 1 or not bool(torch.isfinite(scores).all()):
        raise OptionError(f"the scores of '{name}' are no finite numbers, one for each expert: {scores.tolist()}.")
    if total > size * (1 + cap):
        raise SizeError(
            f"'{name}': with at most {cap} further replicas each, {size} experts become {size * (1 + cap)}, not "
            f"{total}. Ask for fewer, or give a larger cap."
        )
    counts, left = [1] * size, total - size
    for expert in scores.argsort(descending=True, stable=True).tolist():
        counts[expert] += min(cap, left)
        left -= min(cap, left)
    return tuple(counts)
