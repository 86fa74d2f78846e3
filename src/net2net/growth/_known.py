"""What is known of a growth beside its plan: what its proof looks at in the student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from torch import nn

from net2net.analysis import Analysis
from net2net.axes import Atom, Inference, atoms
from net2net.growth._new_units import new_tensors, new_units
from net2net.plan import AxisMap, Plan
from net2net.proof import SAME, Interface, NewUnits, Places
from net2net.sites import compose

Sources = Mapping[str, tuple[np.ndarray | None, ...]]


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a growth beside its plan.

    `units` are its new units and `runs` the tensors that each growing dimension runs through; `layers` are the tensors
    of new layers. `sources` maps a module of the student to the old place that each place of its output's axes
    copies, `moved` a module of the teacher to where it is in the student, if elsewhere. `float32_inside` says that the
    network casts to float32, whatever its own dtype is. `interface` has the inputs and outputs that the student has
    otherwise than its teacher.
    """

    units: tuple[NewUnits, ...] = ()
    runs: tuple[tuple[str, ...], ...] = ()
    layers: frozenset[str] = frozenset()
    sources: Sources = field(default_factory=dict, repr=False)
    moved: Mapping[str, str] = field(default_factory=dict, repr=False)
    float32_inside: bool = False
    interface: Interface = SAME

    def after(self, earlier: Known) -> Known:
        """What is known of two growths together, `earlier` and then this one."""
        moved = {old: self.moved.get(new, new) for old, new in earlier.moved.items()}
        return Known(
            (*earlier.units, *self.units),
            (*earlier.runs, *self.runs),
            earlier.layers | self.layers,
            self.sources,
            {**self.moved, **moved},
            self.float32_inside or earlier.float32_inside,
            self.interface.after(earlier.interface),
        )

    def untrained(self, student: nn.Module, dead: tuple[str, ...]) -> Iterator[str]:
        """Frozen tensors that keep new weights from ever learning."""
        parameters = dict(student.named_parameters())
        for run in self.runs:  # the new units of a dimension of which no tensor learns
            names = [name for name in run if name in parameters]
            frozen = [name for name in names if not parameters[name].requires_grad]
            if all(name in frozen or name in dead for name in names):
                yield from frozen
        whole: list[
            str
        ] = []  # the largest modules that are all new: an adapter in a new block may be what learns there
        for path, module in student.named_modules():
            inside = {f"{path}.{name}" if path else name: p for name, p in module.named_parameters()}
            if inside and inside.keys() <= self.layers and not any(path.startswith(f"{other}.") for other in whole):
                whole.append(path)
                yield from () if any(p.requires_grad for p in inside.values()) else inside


def known_of_width(plan: Plan, analysis: Analysis) -> Known:
    """What is known of a growth in width, from the analysis of its teacher."""
    growing = {analysis.atoms[w.dimension]: (w.dimension, w.units.source) for w in plan.widenings}
    return replace(known_of_units(plan, analysis.sites.inference, growing), sources=_sources(analysis, plan))


def known_of_units(plan: Plan, inference: Inference, growing: Mapping[Atom, tuple[str, Places]]) -> Known:
    """What is known of a growth of some axes: for each a name, and where its places come from."""
    state = inference.graph.state
    runs = tuple(
        tuple(n for n in plan.tensors if any(atom in atoms(t) for t in inference.of(state[n]))) for atom in growing
    )
    units = tuple(new_units(plan, inference, growing))
    return Known(units, runs, float32_inside=inference.graph.casts_to_float32)


def known_of_depth(plan: Plan, analysis: Analysis, layers: frozenset[str], moved: Mapping[str, str]) -> Known:
    """What is known of a growth in depth: which tensors are of new layers, and where modules have moved to."""
    casts = analysis.sites.inference.graph.casts_to_float32
    return Known(tuple(new_tensors(plan)), layers=layers, moved=moved, float32_inside=casts)


def _sources(analysis: Analysis, plan: Plan) -> Sources:
    units = {analysis.atoms[w.dimension]: w.units for w in plan.widenings}

    def leaf(atom: Atom) -> AxisMap:
        return units.get(atom) or AxisMap(np.arange(atom.size))

    found: dict[str, tuple[np.ndarray | None, ...]] = {}
    for node in analysis.sites.inference.graph.nodes:
        axes = analysis.sites.inference.of(node.outputs[0])
        if any(a in units for t in axes for a in atoms(t)):
            found[node.module] = tuple(compose(t, leaf).source for t in axes)
    return found
