"""Graph and axes -> dimensions: what of a network can grow, where it runs, and what it tolerates."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from torch import nn

from net2net.analysis._analysis import Analysis
from net2net.analysis._dimensions import Dimension, Place
from net2net.analysis._modules import Modules
from net2net.analysis._naming import name_dimensions
from net2net.axes import (
    Atom,
    Inference,
    LockKind,
    Opened,
    Term,
    atoms,
    infer,
    lock,
    recognise_gains,
    recognise_rms,
    resolve,
)
from net2net.capture import (
    Example,
    Graph,
    Inputs,
    Methods,
    Value,
    capture,
    examples_of,
    refuse_unfit,
    require_inputs,
    require_module,
    shown,
    unobserved,
    with_train_mode,
)
from net2net.errors import CaptureError
from net2net.sites import Sites, tolerance

# From the examples and their graph to the axes that its inputs and outputs don't lock.
Opening = Callable[[tuple[Example, ...], Graph], Opened]


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
    return analyze_modes(model, examples_of(example_inputs, methods, model))


def analyze_modes(model: nn.Module, examples: tuple[Example, ...], opening: Opening | None = None) -> Analysis:
    """`analyze`, with what runs in train mode only as far as it can be captured.

    Args:
        model: the network.
        examples: of its calls.
        opening: from the examples and their graph to the axes that its inputs and outputs don't lock.

    Raises:
        CaptureError: the model can't be captured.
    """
    every = with_train_mode(model, examples)
    try:
        return analyze_examples(model, every, opening)
    except CaptureError as error:
        if len(every) == len(examples):
            raise
        found = analyze_examples(model, examples, opening)
        reason = str(error).splitlines()[0]
        found.notes = (f"train mode runs other operations, which can't be captured and keep their sizes: {reason}",)
        return found


def analyze_examples(model: nn.Module, examples: tuple[Example, ...], opening: Opening | None = None) -> Analysis:
    """`analyze`, of exactly these examples."""
    graph = capture(model, examples)
    inference = infer(graph, opening(examples, graph)) if opening is not None else infer(graph)
    recognise_rms(inference)
    recognise_gains(inference)
    _lock_unused(inference)
    runs = _runs_of(inference)
    sites = Sites(inference, model)
    tolerances = {atom: tolerance(sites, atom) for atom in runs}
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
        dimensions[name] = Dimension(
            name, atom.size, growth, reason, places, atom in primary, atom.lock.kind if atom.lock else None
        )
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
        for axis, term in enumerate(inference.of(value)):
            if axis == 0 and name in inference.opened.tables:
                continue
            for atom in atoms(term):
                if atom not in carried:
                    lock(atom, f"no value of the network has this axis of '{name}'", LockKind.UNCARRIED)


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
