"""Graph and axes -> dimensions: what of a network can grow, where it runs, and what it tolerates."""

from __future__ import annotations

import copy
import fnmatch
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from torch import nn

from net2net._arguments import require_inputs, require_module
from net2net._modules import Modules
from net2net._naming import name_dimensions
from net2net._observers import unobserved
from net2net.axes import Atom, Inference, Term, atoms, infer, recognise_gains, recognise_rms, resolve
from net2net.capture import Example, Inputs, Methods, Value, capture, examples_of, refuse_unfit, shown, with_train_mode
from net2net.depth import DepthPlace, find_places
from net2net.errors import CaptureError
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
    """The dimensions of a network, by name. Printing it gives the table.

    `examples` is what was captured; `notes` says what couldn't be.
    """

    dimensions: dict[str, Dimension]
    sites: Sites = field(repr=False)
    atoms: dict[str, Atom] = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def places(self) -> dict[str, DepthPlace]:
        """Where the network can be made deeper, by the names that `deepen` takes: in the first example."""
        inference = copy.copy(self.sites.inference)
        inference.graph = inference.graph.first or inference.graph
        return find_places(inference, self.sites.model)

    def growable(self) -> list[Dimension]:
        """The dimensions that can grow."""
        return [d for d in self.dimensions.values() if d.growth != "fixed"]

    def matching(self, pattern: str) -> list[str]:
        """Names of the dimensions that a name or a glob means."""
        if pattern in self.dimensions:
            return [pattern]
        return fnmatch.filter(self.dimensions, pattern)

    @cached_property
    def modules(self) -> Modules:
        """The modules of the network and what they give back."""
        return Modules(self.sites.inference, self.sites.model)

    def module_paths(self) -> list[str]:
        """Paths of the modules that run in the forward, and of those that contain them, under all their names."""
        return list(dict.fromkeys(shown(path) for path in self.modules.known))

    def widths_of(self, path: str) -> list[Term]:
        """The axes with dimensions of what a module gives back: one, unless it gives back several things."""
        free = {self.atoms[d.name] for d in self.growable()}
        return self.modules.widths(path, set(self.atoms.values()), free)

    def __str__(self) -> str:
        from net2net.report import dimension_table, place_table

        return f"{dimension_table(self)}\n\n{place_table(self)}" if self.places else dimension_table(self)


@unobserved
def analyze(model: nn.Module, example_inputs: Inputs, *, methods: Methods = ()) -> Analysis:
    """Find the dimensions of a network: which axes of which tensors must grow together, and how.

    Args:
        model: any module that `torch.export` can capture, on any device (the meta device too). It is not changed.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a list of several
            of these, which run several branches.
        methods: names of methods beside `forward` that are to be grown too, on the example inputs that they take; or a
            mapping from names to inputs of their own.

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
    require_module(model)
    refuse_unfit(model)
    require_inputs(model, example_inputs)
    examples = examples_of(example_inputs, methods, model)
    every = with_train_mode(model, examples)
    try:
        return analyze_examples(model, every)
    except CaptureError as error:
        if len(every) == len(examples):
            raise
        found = analyze_examples(model, examples)
        reason = str(error).splitlines()[0]
        found.notes = (f"train mode runs other operations, which can't be captured and keep their sizes: {reason}",)
        return found


def analyze_examples(model: nn.Module, examples: tuple[Example, ...]) -> Analysis:
    """`analyze`, of exactly these examples."""
    graph = capture(model, examples)
    inference = infer(graph)
    recognise_rms(inference)
    recognise_gains(inference)
    _lock_unused(inference)
    runs = _runs_of(inference)
    sites = Sites(inference, model)
    tolerances = {atom: tolerance.of(sites, atom) for atom in runs}
    modules = Modules(inference, model)
    free = {atom for atom, (growth, _) in tolerances.items() if growth != "fixed"}

    def widths(path: str) -> list[Term] | None:
        if path not in modules.every:
            return None
        return modules.widths(path, runs, free) if path in modules.known else []

    primary = _primary(inference, runs)
    dimensions = {}
    by_name = {}
    for atom, name in name_dimensions(inference, runs, widths).items():
        growth, reason = tolerances[atom]
        contracted = sites.contracted(atom)
        places = tuple(
            Place(tensor, axis, "contracted" if (tensor, axis) in contracted else "produced")
            for tensor, axis in runs[atom]
        )
        name = shown(name)
        dimensions[name] = Dimension(name, atom.size, growth, reason, places, atom in primary)
        by_name[name] = atom
    return Analysis(dimensions, sites, by_name, examples)


def _runs_of(inference: Inference) -> dict[Atom, list[tuple[str, int]]]:
    """The (tensor, axis) places of each atom that reaches the model's state, those of kernels aside."""
    kernels = _kernels(inference)
    runs: dict[Atom, list[tuple[str, int]]] = defaultdict(list)
    for name, value in inference.graph.state.items():
        for axis, term in enumerate(inference.of(value)):
            for atom in dict.fromkeys(atoms(term)):
                if atom.size > 1 and atom not in kernels:
                    runs[atom].append((name, axis))
    return runs


def _kernels(inference: Inference) -> set[Atom]:
    """The axes of the weights of convolutions that slide along their input: no dimensions of the network."""
    return {
        atom
        for node in inference.graph.nodes
        if "conv" in node.op and isinstance(node.get("weight"), Value)
        for term in inference.of(node["weight"])[2:]
        for atom in atoms(term)
    }


def _lock_unused(inference: Inference) -> None:
    """Lock the axes of parameters that no computed value carries, such as those that nothing reads."""
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
