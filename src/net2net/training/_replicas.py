"""Replicas of experts in a run: balanced after each step."""

from __future__ import annotations

from torch import nn

from net2net.moe import ReplicaRouting, balance_experts


def balance_replicas(model: nn.Module, rate: float) -> None:
    """Balance replicas of experts, where there are some and the rate isn't 0."""
    if rate and has_replicas(model):
        balance_experts(model, rate)


def has_replicas(model: nn.Module) -> bool:
    """Whether experts of a network have replicas."""
    return any(isinstance(module, ReplicaRouting) for module in model.modules())
