"""The eps of norms: a number beside the weights that a growth sets, and that no class knows of a network that grew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from net2net.pretrained import eps_changes, pretrained_in


def take_eps(teacher: nn.Module, student: nn.Module) -> dict[str, dict[str, float]]:
    """Give the modules of a student, in place, the eps of the teacher's modules of the same paths.

    Returns:
        What was another number before, as the attributes of a plan: {module path: {attribute: eps}}.

    Example:
        >>> take_eps(nn.Sequential(nn.LayerNorm(3, eps=0.5)), nn.Sequential(nn.LayerNorm(6)))
        {'0': {'eps': 0.5}}
    """
    taken: dict[str, dict[str, float]] = {}
    theirs = dict(student.named_modules())
    for path, module in teacher.named_modules():
        other = theirs.get(path)
        for name, eps in vars(module).items():
            speaks = any(part.startswith("eps") for part in name.lower().split("_"))
            if speaks and isinstance(eps, float) and hasattr(other, name) and getattr(other, name) != eps:
                setattr(other, name, eps)
                taken.setdefault(path, {})[name] = eps
    return taken


def eps_in_configs(model: nn.Module, attributes: Mapping[str, Mapping[str, float]]) -> list[tuple[Any, Any, float]]:
    """What the configs of the Hugging Face models in a network have to say of the eps that a plan sets: the config, a
    key of it, the number. Saving such a model saves its config and not its attributes.

    Raises:
        EpsError: a config can't say it.
    """
    found: list[tuple[Any, Any, float]] = []
    for path, part in pretrained_in(model):
        prefix = f"{path}." if path else ""
        inside = {p[len(prefix) :]: names for p, names in attributes.items() if p.startswith(prefix)}
        found += [(part.config, key, number) for key, number in eps_changes(part, inside).items()]
    return found
