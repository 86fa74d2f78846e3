"""Graph and axes -> dimensions: what of a network can grow, where it runs, and what it tolerates."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from torch import nn

from net2net._naming import name_dimensions
from net2net.axes import Atom, Inference, Term, atoms, infer, recognise_gains, recognise_rms, resolve
from net2net.capture import Inputs, capture
from net2net.depth import DepthPlace, find_places
from net2net.plan import Sites, tolerance

Growth = Literal["any", "multiple", "fixed"]


@dataclass(frozen=True)
class Place:
    """One axis of one tensor that a dimension runs through. `role` is "produced" (a weight's output side, biases,
    norm parameters and statistics) or "contracted" (a weight's input side, summed over)."""

    tensor: str
    axis: int
    role: Literal["produced", "contracted"]

    def __str__(self) -> str:
        return f"{self.tensor}[{self.axis}]"


@dataclass(frozen=True)
class Dimension:
    """A width of the network: all the tensor axes that must grow together.

    `growth` is "any" (every larger size), "multiple" (whole multiples only) or "fixed"; `reason` says why it is not
    "any". A dimension that is not `primary` shares its axes with another one that a factor for all grows instead
    (the head size beside the number of heads).
    """

    name: str
    size: int
    growth: Growth
    reason: str
    places: tuple[Place, ...]
    primary: bool = True

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the tensors that the dimension runs through."""
        return tuple(dict.fromkeys(place.tensor for place in self.places))


@dataclass(eq=False)
class Analysis:
    """The dimensions of a network, by name. Printing it gives the table."""

    dimensions: dict[str, Dimension]
    sites: Sites = field(repr=False)
    atoms: dict[str, Atom] = field(repr=False)

    @cached_property
    def places(self) -> dict[str, DepthPlace]:
        """Where the network can be made deeper, by the names that `deepen` takes."""
        return find_places(self.sites.inference, self.sites.model)

    def growable(self) -> list[Dimension]:
        """The dimensions that can grow."""
        return [d for d in self.dimensions.values() if d.growth != "fixed"]

    def matching(self, pattern: str) -> list[str]:
        """Names of the dimensions that a name or a glob means."""
        if pattern in self.dimensions:
            return [pattern]
        return fnmatch.filter(self.dimensions, pattern)

    def module_paths(self) -> list[str]:
        """Paths of the modules that run in the forward, and of those that contain them."""
        paths: dict[str, None] = {}
        for node in self.sites.inference.graph.nodes:
            parts = node.module.split(".")
            for end in range(1, len(parts) + 1):
                paths.setdefault(".".join(parts[:end]))
        paths.pop("", None)
        return list(paths)

    def output_of(self, path: str) -> tuple[Term, ...]:
        """The axes of what a module gives back: the result of the last operation inside it."""
        nodes = self.sites.inference.graph.nodes
        last = next(n for n in reversed(nodes) if n.module == path or n.module.startswith(path + "."))
        return self.sites.inference.of(last.outputs[0])

    def __str__(self) -> str:
        from net2net.report import dimension_table, place_table

        return f"{dimension_table(self)}\n\n{place_table(self)}" if self.places else dimension_table(self)


def analyze(model: nn.Module, example_inputs: Inputs) -> Analysis:
    """Find the dimensions of a network: which axes of which tensors must grow together, and how.

    Args:
        model: any module that `torch.export` can capture, on any device (the meta device too). It is not changed.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments.

    Returns:
        The analysis; `analysis.dimensions` maps names to `Dimension`s and `print(analysis)` shows the table.

    Raises:
        CaptureError: the model can't be captured.

    Source: the remapping inference that Chen et al. (2016), section 2.3, name and did not build.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> analysis = analyze(model, torch.zeros(1, 4))
        >>> analysis.dimensions["0"].size, analysis.dimensions["0"].growth
        (8, 'any')
    """
    graph = capture(model, example_inputs)
    inference = infer(graph)
    recognise_rms(inference)
    recognise_gains(inference)
    _lock_unused(inference)
    runs = _runs_of(inference)
    names = name_dimensions(inference, runs)
    primary = _primary(inference, runs)
    dimensions = {}
    by_name = {}
    sites = Sites(inference, model)
    for atom, name in names.items():
        growth, reason = tolerance.of(sites, atom)
        contracted = sites.contracted(atom)
        places = tuple(
            Place(tensor, axis, "contracted" if (tensor, axis) in contracted else "produced")
            for tensor, axis in runs[atom]
        )
        dimensions[name] = Dimension(name, atom.size, growth, reason, places, atom in primary)
        by_name[name] = atom
    return Analysis(dimensions, sites, by_name)


def _runs_of(inference: Inference) -> dict[Atom, list[tuple[str, int]]]:
    """The (tensor, axis) places of each atom that reaches the model's state."""
    runs: dict[Atom, list[tuple[str, int]]] = defaultdict(list)
    for name, value in inference.graph.state.items():
        for axis, term in enumerate(inference.of(value)):
            for atom in dict.fromkeys(atoms(term)):
                if atom.size > 1:
                    runs[atom].append((name, axis))
    return runs


def _lock_unused(inference: Inference) -> None:
    """Lock the axes of parameters that no computed value carries: kernels, and tensors that nothing reads."""
    carried = {
        atom
        for node in inference.graph.nodes
        for value in (*node.outputs, *(v for v in node.inputs if not v.is_state))
        for term in inference.of(value)
        for atom in atoms(term)
    }
    for name, value in inference.graph.state.items():
        for term in inference.of(value):
            for atom in atoms(term):
                if atom not in carried and atom.lock is None:
                    atom.lock = f"no value of the network has this axis of '{name}'"


def _primary(inference: Inference, runs: dict[Atom, list[tuple[str, int]]]) -> set[Atom]:
    """Where several dimensions share an axis, the first that can grow stands for the axis."""
    primary: set[Atom] = set()
    secondary: set[Atom] = set()
    for value in inference.graph.state.values():
        for term in inference.of(value):
            parts = resolve(term)
            groups = [parts] if not hasattr(parts, "parts") else list(parts.parts)
            for group in groups:
                free = [a for a in dict.fromkeys(atoms(group)) if a.lock is None and a.size > 1]
                if len(free) > 1 and not hasattr(group, "parts"):
                    primary.add(free[0])
                    secondary.update(free[1:])
    return {a for a in runs if a.lock is None and (a not in secondary or a in primary)}
