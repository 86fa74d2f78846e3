"""What a factor for all doesn't grow: dimensions that can't, each with its own reason."""

from __future__ import annotations

from collections.abc import Iterable

from net2net.analysis import Analysis
from net2net.axes import Atom, Inference, atoms
from net2net.capture import Value
from net2net.plan import Plan


def fixed_ones(analysis: Analysis, plan: Plan, names: Iterable[str]) -> dict[str, str]:
    """The fixed dimensions among some, with their reasons.

    Only widths inside the network are worth a line: no axis of an input or an output, and none that no computed value
    has, such as a vocabulary; nor one where all axes grow by another factor of theirs (heads beside a fixed head size).
    """
    inference = analysis.sites.inference
    widths = _widths(inference)
    grown = {(name, axis) for name, t in plan.tensors.items() for axis, m in enumerate(t.axes) if m is not None}
    found = {}
    for name in names:
        dimension = analysis.dimensions[name]
        if dimension.growth == "fixed" and analysis.atoms[name] in widths:
            places = [p for p in dimension.places if inference.graph.state[p.tensor].kind == "parameter"]
            if any((p.tensor, p.axis) not in grown for p in places):
                found[name] = dimension.reason
    return found


def _widths(inference: Inference) -> set[Atom]:
    """What a value between the inputs and the outputs has."""
    graph = inference.graph
    computed = (v for node in graph.nodes for v in node.outputs if v not in inference.weights)
    return _atoms(inference, computed) - _atoms(inference, [*graph.inputs, *graph.outputs.values()])


def _atoms(inference: Inference, values: Iterable[Value]) -> set[Atom]:
    return {atom for value in values for term in inference.of(value) for atom in atoms(term)}
