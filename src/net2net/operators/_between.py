"""A student that the user built: which dimension has which size in it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net.analysis import Analysis
from net2net.axes import Atom, Product, Term, atoms, resolve, size
from net2net.capture import Example, Graph, capture, structural_copy
from net2net.errors import CaptureError, SizeError, StudentMismatchError
from net2net.operators._width_design import eps_changes
from net2net.plan import Plan
from net2net.pretrained import EpsError, has_dynamic_positions, set_key
from net2net.student import NewSizes, changed_buffers, compare, eps_in_configs, operations, take_eps
from net2net.width import WidthOptions, compensate, plan_width


def match_sizes(analysis: Analysis, student: Graph) -> dict[Atom, int]:
    """The student's size of every dimension, read off the shapes in its graph.

    Raises:
        StudentMismatchError: the student's graph is not the teacher's at larger sizes.
    """
    inference = analysis.sites.inference
    teacher = inference.graph
    equations: list[tuple[Term, int, str]] = []
    for name, value in teacher.state.items():
        other = student.state.get(name)
        if other is None or len(other.shape) != len(value.shape):
            raise StudentMismatchError(f"the student has no tensor '{name}' with {len(value.shape)} axes.")
        equations += [(t, s, f"'{name}'") for t, s in zip(inference.of(value), other.shape, strict=True)]
    left, right = operations(teacher), operations(student)
    for ours, theirs in zip(left, right, strict=False):
        if ours.op != theirs.op:
            raise StudentMismatchError(f"where the teacher runs {ours.where}, the student runs {theirs.where}.")
        if len(ours.outputs) != len(theirs.outputs):
            raise StudentMismatchError(f"{ours.where} has {len(theirs.outputs)} results in the student.")
        for a, b in zip(ours.outputs, theirs.outputs, strict=True):
            if len(a.shape) == len(b.shape):
                equations += [(t, s, ours.where) for t, s in zip(inference.of(a), b.shape, strict=True)]
    if len(left) != len(right):
        raise StudentMismatchError(
            f"the student runs {len(right)} operations and the teacher {len(left)}: it is not the "
            "same network at a larger size."
        )
    known = _solve(equations)
    dimensions = set(analysis.atoms.values())
    names = {atom: name for name, atom in analysis.atoms.items()}
    for atom in dimensions:
        if known.get(atom, atom.size) < atom.size:
            raise StudentMismatchError(
                f"'{names[atom]}' is {atom.size} in the teacher and {known[atom]} in the student."
            )
    return {atom: known[atom] for atom in analysis.atoms.values() if known.get(atom, atom.size) != atom.size}


def _solve(equations: list[tuple[Term, int, str]]) -> dict[Atom, int]:
    known: dict[Atom, int] = {}
    left = [(resolve(term), after, where) for term, after, where in equations]
    while left:
        still: list[tuple[Term, int, str]] = []
        for term, after, where in left:
            unknown = [a for a in dict.fromkeys(atoms(term)) if a not in known]
            if not unknown:
                if _size(term, known) != after:
                    raise StudentMismatchError(f"the sizes of the student don't fit together at {where}: {after}.")
            elif isinstance(term, Atom):
                known[term] = after
            elif len(unknown) == 1:
                known[unknown[0]] = _the_one(term, unknown[0], after, known, where)
            else:
                still.append((term, after, where))
        if len(still) == len(left):  # nothing more to learn: whatever is left must be as it was
            term, after, where = still[0]
            if size(term) != after:
                raise StudentMismatchError(f"the student's size {after} at {where} could come about in several ways.")
            known.update({a: a.size for a in atoms(term) if a not in known})
        left = still
    return known


def _size(term: Term, known: Mapping[Atom, int]) -> int:
    if isinstance(term, Atom):
        return known[term]
    if isinstance(term, Product):
        result = 1
        for factor in term.factors:
            result *= _size(factor, known)
        return result
    return sum(_size(p, known) for p in term.parts)


def _the_one(term: Term, atom: Atom, after: int, known: Mapping[Atom, int], where: str) -> int:
    """The size of the only unknown atom: the axis grows with it, so halve the range that it can be in."""
    found = bisect_left(range(1, after + 1), after, key=lambda candidate: _size(term, {**known, atom: candidate})) + 1
    if _size(term, {**known, atom: found}) == after:
        return found
    raise StudentMismatchError(f"no size of one dimension gives the student's {after} at {where}.")


def check_shapes(plan: Plan, analysis: Analysis, student: nn.Module) -> None:
    """Check that the plan makes exactly the student's tensors."""
    tensors = dict(student.named_parameters()) | dict(student.named_buffers())
    for name, value in analysis.sites.inference.graph.state.items():
        shape = plan.tensors[name].shape if name in plan.tensors else value.shape
        if name not in tensors or tuple(tensors[name].shape) != tuple(shape):
            found = tuple(tensors[name].shape) if name in tensors else "missing"
            raise StudentMismatchError(f"'{name}' should be {tuple(shape)} in the student and is {found}.")


def loaded(student: nn.Module, state: Mapping[str, torch.Tensor], plan: Plan) -> nn.Module:
    """A copy of the student that has what `load_in_place` would give the student itself."""

    def replaced(name: str, tensor: torch.Tensor) -> torch.Tensor:
        new = state[name].to(tensor) if name in state else tensor.detach().clone()
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    target = structural_copy(student, replaced)
    set_attributes(target, plan)
    return target


def load_in_place(student: nn.Module, state: Mapping[str, torch.Tensor], plan: Plan) -> None:
    """Set the weights of the student itself, the attributes that the steps of a plan set, and the words of a config
    that say the same."""
    words = eps_in_configs(student, attributes_of(plan))
    with torch.no_grad():
        for name, tensor in [*student.named_parameters(), *student.named_buffers()]:
            tensor.copy_(state[name])
    set_attributes(student, plan)
    for config, key, number in words:
        set_key(config, key, number)


def set_attributes(model: nn.Module, plan: Plan) -> None:
    """Set what the steps of a plan set beside sizes: a norm's eps."""
    for path, attributes in attributes_of(plan).items():
        for name, number in attributes.items():
            setattr(model.get_submodule(path), name, number)


def attributes_of(plan: Plan) -> dict[str, dict[str, float]]:
    """What the steps of a plan set in all."""
    found: dict[str, dict[str, float]] = {}
    for step in plan.steps:
        for path, attributes in step.attributes.items():
            found[path] = {**found.get(path, {}), **attributes}
    return found


def _check_positions(teacher: nn.Module, student: nn.Module) -> None:
    """Frequencies that depend on the length do so beyond what the model was trained for, where no proof may look."""
    theirs: dict[str, Any] = dict(student.named_modules())
    for path, module in teacher.named_modules():
        before, after = (getattr(m, "original_max_seq_len", None) for m in (module, theirs.get(path)))
        if has_dynamic_positions(module) and before != after:
            raise SizeError(
                f"the frequencies of '{path}' depend on how long an input is, beyond {before} positions; with {after} "
                "instead it would compute something else. Leave max_position_embeddings as it is."
            )


def _captured(student: nn.Module, inputs: tuple[Example, ...]) -> Graph:
    """The student's graph on what the teacher takes."""
    try:
        return capture(student, inputs)
    except CaptureError as error:
        raise CaptureError(
            f"{error}\nThe teacher runs on these inputs, whose sizes are fixed here: build a student that takes them, "
            "or add to them with net2net.surgery."
        ) from error


def plan_of(
    teacher: nn.Module, analysis: Analysis, student: nn.Module, deeper: Plan | None, options: WidthOptions
) -> Plan:
    """The plan for a student that somebody built, without the step that made the teacher as deep.

    Args:
        teacher, analysis: as deep as the student.
        student: isn't touched.
        deeper: what made the teacher as deep.

    Raises:
        StudentMismatchError, GrowthError: there is none.
    """
    prepared = structural_copy(student)
    if deeper is not None:
        set_attributes(prepared, deeper)
    kept = take_eps(teacher, prepared)

    def planned(keep_eps: bool) -> Plan:
        plan = _between(teacher, analysis, prepared, options, keep_eps)
        check_shapes(plan, analysis, student)
        both = {path: {**kept.get(path, {}), **plan.attributes.get(path, {})} for path in {**kept, **plan.attributes}}
        plan = replace(plan, attributes=both)
        eps_in_configs(student, attributes_of(plan if deeper is None else plan.after(deeper)))
        return plan

    try:
        return planned(keep_eps=False)
    except EpsError:
        if options.how is not None:
            raise
    return planned(keep_eps=True)  # copies: every norm keeps its eps


def _between(teacher: nn.Module, analysis: Analysis, student: nn.Module, options: WidthOptions, keep_eps: bool) -> Plan:
    """The plan that makes the student's weights from the teacher's; the student is as deep. No weight is read."""
    _check_positions(teacher, student)
    graph = _captured(student, analysis.examples)
    after = match_sizes(analysis, graph)
    names = {atom: name for name, atom in analysis.atoms.items()}
    wanted = {names[a]: (a, s) for a, s in after.items()}
    plan = plan_width(analysis.sites, wanted, options, keep_eps=keep_eps)
    known = {(value, new) for value, new in eps_changes(teacher, plan)}
    buffers = changed_buffers(teacher, {"": student})
    constants = compare(NewSizes(analysis.sites, after), graph, known, buffers)
    return compensate(plan, analysis.sites, constants)
