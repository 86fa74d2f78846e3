"""Experts as a dimension that `analyze` lists."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from net2net.analysis import Dimension, Place, lists_dimensions
from net2net.capture import Example
from net2net.errors import CaptureError
from net2net.moe._mixtures import Mixture, look, may_have_experts
from net2net.moe._stock import axis_of_experts


@lists_dimensions
def experts_listed(model: nn.Module, examples: tuple[Example, ...]) -> dict[str, Dimension]:
    """The mixtures of a network: how many experts each has, how many compute a token, and what its gate does."""
    if not may_have_experts(model):
        return {}
    try:
        found = look(model, examples[:1]).mixtures.found
    except CaptureError:  # an analysis says what can be found
        return {}
    return {name: _dimension(model, mixture) for name, mixture in found.items()}


def _dimension(model: nn.Module, mixture: Mixture) -> Dimension:
    per_token = "a varying number" if mixture.top_k is None else str(mixture.top_k)
    reason = f"{mixture.rule}; {per_token} per token; net2net.upcycle makes more"
    return Dimension(mixture.name, mixture.size, "experts", reason, tuple(_places(model, mixture)))


def _places(model: nn.Module, mixture: Mixture) -> Iterator[Place]:
    """The axis of experts in their own tensors, where they have one, and in the router's."""
    if mixture.stack:
        for name, _ in model.get_submodule(mixture.stack).named_parameters(recurse=False):
            yield Place(f"{mixture.stack}.{name}", 0, "produced")
    tensors = () if mixture.gate is None or mixture.sources != mixture.size else mixture.gate.tensors
    for name in tensors:
        owner, _, last = name.rpartition(".")
        yield Place(name, axis_of_experts(getattr(model.get_submodule(owner), last), mixture), "produced")
