"""A finished growth, and its proof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from net2net.axes import Atom, atoms
from net2net.capture import Inputs
from net2net.dimensions import Analysis
from net2net.errors import OptionError
from net2net.plan import AxisMap, Plan, compose
from net2net.verify import Verification, compare_models, require


@dataclass(frozen=True)
class Growth:
    """A finished growth: the student, the plan that made it, and the proof."""

    student: nn.Module
    plan: Plan
    verification: Verification

    def __str__(self) -> str:
        return f"{self.plan}\n{self.verification}"


def require_weights(model: nn.Module) -> None:
    if any(t.device.type == "meta" for t in model.parameters()):
        raise OptionError(
            "the teacher is on the meta device, where there are no weights to grow; analyze() works there."
        )


def state_of(model: nn.Module, analysis: Analysis) -> dict[str, torch.Tensor]:
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    return {name: tensor for name, tensor in tensors.items() if name not in analysis.sites.inference.graph.ties}


def proved(teacher: nn.Module, student: nn.Module, plan: Plan, analysis: Analysis, inputs: Inputs) -> Growth:
    verification = compare_models(
        teacher,
        student,
        inputs,
        preserves=plan.preserves,
        float32_inside=analysis.sites.inference.graph.casts_to_float32,
        sources=_sources(analysis, plan),
        new_entries={
            name: tuple(None if m is None else np.flatnonzero(_is_new(m.source)) for m in tensor.axes)
            for name, tensor in plan.tensors.items()
        },
    )
    require(verification)
    return Growth(student, plan, verification)


def _is_new(source: np.ndarray) -> np.ndarray:
    """Places that are no first copy of an old one."""
    first = np.zeros(len(source), dtype=bool)
    first[np.unique(source, return_index=True)[1]] = True
    result: np.ndarray = (source < 0) | ~first
    return result


def _sources(analysis: Analysis, plan: Plan) -> dict[str, tuple[np.ndarray | None, ...]]:
    """For each module whose output grew, which old place each place of its axes copies."""
    units = {analysis.atoms[w.dimension]: w.units for w in plan.widenings}

    def leaf(atom: Atom) -> AxisMap:
        return units.get(atom) or AxisMap(np.arange(atom.size))

    found: dict[str, tuple[np.ndarray | None, ...]] = {}
    for node in analysis.sites.inference.graph.nodes:
        axes = analysis.sites.inference.of(node.outputs[0])
        if any(a in units for t in axes for a in atoms(t)):
            found[node.module] = tuple(compose(t, leaf).source for t in axes)
    return found
