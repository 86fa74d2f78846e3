"""The plan of copies of experts in a network's own class: of the network, or of a larger one that it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from net2net._version import __version__
from net2net.capture import Inputs
from net2net.errors import OptionError
from net2net.moe._change import Upcycling
from net2net.moe._counts import Counts, Experts, requested
from net2net.moe._mixtures import Look, Mixture, look
from net2net.moe._observe import TOP_K
from net2net.moe._replicas import EXPERT_COUNT, source_of
from net2net.moe._stock import copied_tensors, freed, raised
from net2net.plan import AxisMap, Plan, Preservation, TensorPlan
from net2net.pretrained import Changes, Key, numbers

# For the path of a layer, those of the layers of a larger network that it stands for.
Layers = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Copied:
    """A plan of copies, and the words of a config that say so: how many experts there are, and how many per token."""

    plan: Plan
    words: Changes


def plan_copies(
    whole: nn.Module,
    small: nn.Module,
    inputs: Inputs,
    layers: Layers,
    experts: Experts,
    routing: str,
    *,
    config: Any,
    noise: float = 0.0,
    seed: int = 0,
) -> Copied:
    """The plan of copies of experts for a network whose weights may be on the meta device.

    Args:
        whole: the network.
        small: one of the same class with layers of each kind, and weights; it shows what the gates do.
        inputs: of the small network.
        layers: which layers of the network each layer of the small one stands for.
        experts: as for `upcycle`.
        routing: "raise_k" or "free".
        config: of the network.
        noise, seed: as for `upcycle`.

    Raises:
        GrowthError: a mixture can't grow so.
    """
    seen = look(small, inputs)
    found = seen.mixtures.found
    require_mixtures(whole, seen)
    counts = requested(seen.mixtures, experts, None, 1)
    plan = copies_plan(whole, small, seen, counts, routing, noise, seed, layers)
    sizes = {(change.before, change.after, change.top_k) for change in plan.changes if isinstance(change, Upcycling)}
    if len(sizes) > 1 or counts.keys() != found.keys():
        raise OptionError("a config has one number of experts for all mixtures: ask for the same of all.")
    ((before, after, top_k),) = sizes
    assert top_k is not None
    values = dict(numbers(config))
    words: Changes = {}
    for keys, old, new in zip(words_of_experts(config), (before, top_k[0]), (after, top_k[1]), strict=True):
        words |= {key: new for key in keys if values[key] == old != new}
    return Copied(plan, words)


def words_of_experts(config: Any) -> tuple[list[Key], list[Key]]:
    """Where a config says how many experts there are, and how many compute a token."""
    keys = [key for key, _ in numbers(config)]
    counts, per_token = ([key for key in keys if is_one(str(key[-1]))] for is_one in (counts_experts, counts_per_token))
    return counts, per_token


def counts_experts(word: str) -> bool:
    """Whether a word of a config says how many experts there are."""
    return EXPERT_COUNT.fullmatch(word) is not None


def counts_per_token(word: str) -> bool:
    """Whether a word of a config says how many experts compute a token."""
    return TOP_K.fullmatch(word) is not None


def require_mixtures(model: nn.Module, seen: Look) -> None:
    """Refuse a network without mixtures.

    Raises:
        OptionError: with the reason for what looks like one.
    """
    if not seen.mixtures.found:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in list(seen.mixtures.unknown.items())[:2])
        raise OptionError(
            f"{type(model).__name__} has no mixture of experts that can be upcycled"
            f"{f': {reasons}' if reasons else ''}. With top_k= its dense feed-forwards become mixtures."
        )


def copies_plan(
    whole: nn.Module,
    small: nn.Module,
    seen: Look,
    counts: Mapping[str, Counts],
    routing: str,
    noise: float,
    seed: int,
    layers: Layers | None = None,
) -> Plan:
    """The plan of copies: `counts` of the experts of each mixture that was `seen` in the small network."""
    tensors: dict[str, TensorPlan] = {}
    changes = []
    preserves: Preservation = "exact" if routing == "raise_k" else "approximate"
    for name, some in counts.items():
        shown = seen.mixtures.found[name]
        experts = small.get_submodule(shown.stack or shown.members[0])
        copies = (raised if routing == "raise_k" else freed)(shown, some, experts, seen.calls[name])
        uneven = routing == "raise_k" and bool(copies.outputs)
        assert shown.gate is not None
        top_k = (shown.gate.top_k, copies.top_k)
        for mixture in _everywhere(shown, layers):
            tensors |= copied_tensors(whole, mixture, copies, noise if routing == "free" else 0.0)
            units = AxisMap(source_of(some))
            sizes = mixture.name, mixture.size, sum(some)
            changes.append(Upcycling(*sizes, routing, units, top_k=top_k, uneven=uneven, preserves=preserves))
    return Plan(tensors, tuple(changes), seed, preserves, version=__version__)


def _everywhere(mixture: Mixture, layers: Layers | None) -> list[Mixture]:
    """A mixture in each of the layers that its own stands for."""
    if layers is None:
        return [mixture]
    for path, others in layers.items():
        if mixture.name.startswith(f"{path}."):
            return [_moved(mixture, path, other) for other in others]
    return [mixture]


def _moved(mixture: Mixture, path: str, other: str) -> Mixture:
    def moved(name: str) -> str:
        return f"{other}{name.removeprefix(path)}" if f"{name}.".startswith(f"{path}.") else name

    gate = mixture.gate
    assert gate is not None
    bias, selection = (name and moved(name) for name in (gate.bias, gate.selection))
    return replace(
        mixture,
        name=moved(mixture.name),
        block=moved(mixture.block),
        stack=moved(mixture.stack),
        members=tuple(map(moved, mixture.members)),
        gate=replace(gate, weight=moved(gate.weight), bias=bias, selection=selection),
    )
