"""A student compared with its teacher, with all that is known of its growth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from torch import nn

from net2net.analysis import Analysis
from net2net.axes import Atom, atoms
from net2net.capture import Inputs
from net2net.growth._carry_out import carried_out
from net2net.growth._growth import Growth
from net2net.growth._new_units import never_let_out, new_units
from net2net.plan import AxisMap, Plan
from net2net.proof import compare_models, require
from net2net.sites import compose


def proved(teacher: nn.Module, student: nn.Module, plan: Plan, analysis: Analysis, inputs: Inputs) -> Growth:
    verification = compare_models(
        teacher,
        student,
        inputs,
        preserves=plan.preserves,
        float32_inside=analysis.sites.inference.graph.casts_to_float32,
        sources=_sources(analysis, plan),
        units=new_units(plan, analysis),
        regrow=lambda other: carried_out(plan, other, student),
    )
    require(verification)
    if verification.dead is not None:
        frozen = [n for n in never_let_out(student, plan, analysis, verification.dead) if n not in verification.dead]
        verification = replace(verification, dead=(*verification.dead, *frozen))
    return Growth(student, plan, verification, teacher, inputs)


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
