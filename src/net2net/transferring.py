"""A teacher into a student that the user built: wider, deeper, or both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations_with_replacement, islice, product
from typing import Any

from torch import nn

from net2net._calibrate import Calibration
from net2net._combine import one_growth
from net2net._initialise import initial_values
from net2net._transfer import check_shapes, loaded, match_sizes
from net2net.apply import grow_state
from net2net.build import NewSizes, changed_buffers, compare
from net2net.capture import Inputs, capture, has_dynamic_positions, structural_copy
from net2net.deepening import deepen
from net2net.depth import LayerPlace, Stack, find_layers, find_stacks
from net2net.dimensions import Analysis, analyze
from net2net.errors import GrowthError, SizeError
from net2net.growth import Growth, proved, require_weights, state_of
from net2net.plan import NoiseSpec, Plan, WidthOptions, compensate, plan_width
from net2net.widening import eps_changes, warn_of_twins

_MAX_TRIES = 60


def transfer(
    teacher: nn.Module,
    student: nn.Module,
    example_inputs: Inputs,
    calibration: Calibration | None = None,
    *,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    init: str = "identity",
    positions: Any = None,
    seed: int = 0,
) -> Growth:
    """Set the weights of a bigger network that the user built, so that it computes what the teacher computes.

    Args:
        teacher: the trained network. It is not changed.
        student: a network of the same structure with larger sizes, more blocks in its lists of blocks, or more
            layers in its `nn.Sequential`s. Its weights are set, in place, once the result has been verified; until
            then it is not touched.
        example_inputs: inputs that both networks run on.
        calibration, init, positions: as for `deepen`.
        how, shares, noise, seed: as for `widen`.

    Returns:
        The growth; `growth.student is student`.

    Raises:
        StudentMismatchError: the student is not the teacher's network at larger sizes.
        GrowthError: the sizes can't be reached exactly.

    Example:
        >>> import torch
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> student = torch.nn.Sequential(torch.nn.Linear(4, 11), torch.nn.ReLU(), torch.nn.Linear(11, 2))
        >>> transfer(teacher, student, torch.randn(3, 4)).verification.passed
        True
    """
    options = WidthOptions(how, shares, noise, seed)
    require_weights(teacher)
    keywords = {"calibration": calibration, "init": init, "positions": positions, "seed": seed}
    refusal: GrowthError | None = None
    for deeper in _as_deep(teacher, student, example_inputs, keywords):
        try:
            return _wider(teacher, deeper, student, example_inputs, options)
        except GrowthError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _as_deep(
    teacher: nn.Module, student: nn.Module, inputs: Inputs, keywords: dict[str, Any]
) -> Iterator[Growth | None]:
    """The teacher as deep as the student, in every way that gives the student's modules; None if it is already."""
    inference = analyze(teacher, inputs).sites.inference
    theirs = dict(student.named_modules())
    ways: list[list[dict[str, int]]] = []
    deeper: set[str] = set()
    containers: dict[str, list[Stack]] = {}
    for stack in find_stacks(inference, teacher):
        containers.setdefault(stack.container, []).append(stack)
    for path, stacks in containers.items():
        mine, other = teacher.get_submodule(path), theirs.get(path)
        extra = len(list(other.children())) - len(list(mine.children())) if other is not None else 0
        if extra > 0 and isinstance(mine, (nn.ModuleList, nn.Sequential)):
            deeper.add(path)
            ways.append([{s.name: n for s, n in zip(stacks, p, strict=True) if n} for p in _splits(extra, len(stacks))])
    layers = [p for p in find_layers(inference, teacher) if p.kind is not None]
    choices = _layer_choices(teacher, student, layers, deeper)
    wheres = [{k: v for part in parts for k, v in part.items()} for parts in islice(product(*ways), _MAX_TRIES)]
    where = any(wheres)
    if not where and not choices:
        yield None
        return
    refusal: GrowthError | None = None
    found = False
    for chosen, (choice, kernel) in product(wheres, choices or [({}, None)]):
        try:
            growth = deepen(teacher, {**chosen, **choice}, inputs, kernel=kernel, **keywords)
        except GrowthError as error:
            refusal = refusal or error
            continue
        found = True
        yield growth
    if not found and refusal is not None:
        raise refusal


def _splits(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """The ways to share out a number of blocks over several stacks."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        yield from ((first, *rest) for rest in _splits(total - first, parts - 1))


def _layer_choices(
    teacher: nn.Module, student: nn.Module, layers: list[LayerPlace], stacks: set[str]
) -> list[tuple[dict[str, int], Any]]:
    """Where identity layers can go so that every Sequential has the student's layers, with the kernel they have."""
    found: list[list[tuple[dict[str, int], Any]]] = []
    theirs = dict(student.named_modules())
    for path, mine in teacher.named_modules():
        other = theirs.get(path)
        if not isinstance(mine, nn.Sequential) or not isinstance(other, nn.Sequential) or path in stacks:
            continue
        missing = len(other) - len(mine)
        here = [p for p in layers if p.last.rpartition(".")[0] == path]
        if missing <= 0 or not here:
            continue
        options: list[tuple[dict[str, int], Any]] = []
        kernels = dict.fromkeys(tuple(m.kernel_size) for m in other if isinstance(m, nn.modules.conv._ConvNd))
        wanted = list(map(type, other))
        for count in range(1, missing // 2 + 1):
            for some in islice(combinations_with_replacement(here, count), _MAX_TRIES):
                if _types_with(mine, some) == wanted:
                    chosen = {p.name: some.count(p) for p in some}
                    options += [(chosen, kernel) for kernel in (None, *kernels)]
        found.append(options)
    together = []
    for parts in islice(product(*found), _MAX_TRIES):
        asked = {kernel for _, kernel in parts if kernel is not None}
        if parts and len(asked) <= 1:
            together.append(({k: v for chosen, _ in parts for k, v in chosen.items()}, next(iter(asked), None)))
    return together


def _types_with(container: nn.Sequential, places: tuple[LayerPlace, ...]) -> list[type]:
    """The classes of a Sequential's layers with identity layers at these places."""
    result: list[type] = []
    for name, child in container.named_children():
        result.append(type(child))
        for place in places:
            if place.last.rpartition(".")[2] == name:
                norm = [type(place.last_module)] if place.norm else []
                result += [type(place.activation), type(place.layer), *norm]
    return result


def _wider(
    teacher: nn.Module, deeper: Growth | None, student: nn.Module, inputs: Inputs, options: WidthOptions
) -> Growth:
    """Set the student's weights from a teacher that is as deep as it is."""
    source = teacher if deeper is None else deeper.student
    earlier = Plan({}, (), options.seed) if deeper is None else deeper.plan
    analysis = analyze(source, inputs)
    prepared = structural_copy(student)
    for path, values in earlier.attributes.items():
        for name, number in values.items():
            setattr(prepared.get_submodule(path), name, number)
    plan = plan_between(source, analysis, prepared, inputs, options)
    check_shapes(plan, analysis, student)
    warn_of_twins(plan, options)
    initial = initial_values(student, options.seed) if options.how == "random_pad" else None
    state = grow_state(plan, state_of(source, analysis), initial)
    for name in changed_buffers(source, {"": prepared}):  # its class computes them; weights make up
        del state[name]
    trial = loaded(prepared, state, plan)
    growth = proved(source, trial, plan, analysis, inputs)
    if deeper is not None:
        growth = one_growth(teacher, deeper, growth, inputs)
    attributes = {**earlier.attributes, **plan.attributes}
    loaded(student, state, replace(plan, attributes=attributes), in_place=True)
    return replace(growth, student=student)


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


def plan_between(
    teacher: nn.Module,
    analysis: Analysis,
    student: nn.Module,
    inputs: Inputs,
    options: WidthOptions,
    *,
    keep_eps: bool = False,
) -> Plan:
    """The plan that makes the student's weights from the teacher's; the student is as deep. No weight is read.

    Raises:
        StudentMismatchError, GrowthError: there is none.
    """
    _check_positions(teacher, student)
    graph = capture(student, inputs)
    after = match_sizes(analysis, graph)
    names = {atom: name for name, atom in analysis.atoms.items()}
    wanted = {names[a]: (a, s) for a, s in after.items()}
    plan = plan_width(analysis.sites, wanted, options, keep_eps=keep_eps)
    known = {(value, new) for value, new in eps_changes(teacher, plan)}
    buffers = changed_buffers(teacher, {"": student})
    constants = compare(NewSizes(analysis.sites, after), graph, known, buffers)
    return compensate(plan, analysis.sites, constants)
