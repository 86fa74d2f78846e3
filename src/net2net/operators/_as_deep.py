"""A teacher as deep as a student that the user built."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations_with_replacement, islice, product
from typing import Any

from torch import nn

from net2net.analysis import analyze_examples
from net2net.capture import Example
from net2net.depth import Depth, DepthOptions, LayerPlace, Stack, find_layers, find_stacks, order
from net2net.errors import GrowthError, StudentMismatchError
from net2net.operators._calibrate import Calibration
from net2net.operators._deepen import deeper
from net2net.operators._made import Made

_MAX_TRIES, _MAX_PLACES = 60, 2000


def as_deep(
    teacher: nn.Module,
    student: nn.Module,
    inputs: tuple[Example, ...],
    options: DepthOptions,
    calibration: Calibration | None,
) -> Iterator[Made | None]:
    """The teacher as deep as the student, in every way that gives the student's modules; None if it is already.

    The student is the draft: its forward says what is read between which blocks, as far as it differs from the
    teacher's.
    """
    theirs = dict(student.named_modules())
    if theirs.keys() == dict(teacher.named_modules()).keys():
        yield None
        return
    analysis = analyze_examples(teacher, inputs[:1])
    inference, positions = analysis.sites.inference, options.positions
    ways: list[list[dict[str, Depth]]] = []
    longer: set[str] = set()
    containers: dict[str, list[Stack]] = {}
    for stack in find_stacks(inference, teacher):
        containers.setdefault(stack.container, []).append(stack)
    for path, stacks in containers.items():
        mine, other = teacher.get_submodule(path), theirs.get(path)
        extra = len(list(other.children())) - len(list(mine.children())) if other is not None else 0
        if extra > 0 and isinstance(mine, (nn.ModuleList, nn.Sequential)):
            longer.add(path)
            splits = [{s: n for s, n in zip(stacks, p, strict=True) if n} for p in _splits(extra, len(stacks))]
            taps = _taps_of(student, inputs) if any(s.taps for s in stacks) else {}
            ways.append([way for split in splits for way in _placed(split, taps, positions)])
    layers = [p for p in find_layers(inference, teacher) if p.kind is not None]
    choices = _layer_choices(teacher, student, layers, longer)
    wheres = [{k: v for part in parts for k, v in part.items()} for parts in islice(product(*ways), _MAX_TRIES)]
    if not any(wheres) and not choices:
        yield None
        return
    refusal: GrowthError | None = None
    found = False
    for chosen, (choice, kernel) in product(wheres, choices or [({}, None)]):
        try:
            where = {**chosen, **choice}
            made = deeper(analysis, where, inputs, replace(options, kernel=kernel), calibration, student)
        except GrowthError as error:
            refusal = refusal or error
            continue
        found = True
        yield made
    if not found and refusal is not None:
        raise refusal


def _taps_of(student: nn.Module, inputs: tuple[Example, ...]) -> dict[str, set[int]]:
    """The children of each container that others than the next one read, in the student."""
    stacks = find_stacks(analyze_examples(student, inputs[:1]).sites.inference, student)
    return {s.container: {s.first + k for k in s.taps} for s in stacks}


def _placed(split: dict[Stack, int], taps: dict[str, set[int]], positions: Any) -> list[dict[str, Depth]]:
    """The ways to place so many new blocks: the usual one, or, of a stack that is read between its blocks, those that
    keep the student's readers at the teacher's blocks."""
    options: list[list[tuple[str, Depth]]] = []
    for stack, count in split.items():
        usual: list[tuple[str, Depth]] = [(stack.name, count)]
        if stack.taps and positions is None:
            spread = [source for source, new in order(len(stack), count, "identity", "spread", stack.name) if new]
            every = combinations_with_replacement(range(-1, len(stack)), count)
            fitting = [p for p in islice(every, _MAX_PLACES) if _reads_alike(stack, p, taps)]
            usual = [(stack.name, list(p)) for p in sorted(fitting, key=lambda p: list(p) != spread)]
            if not usual:
                read = sorted(taps.get(stack.container, set()))
                raise StudentMismatchError(
                    f"what blocks {sorted(stack.taps)} of '{stack.name}' give is read by others in the teacher "
                    f"({next(iter(stack.taps.values()))}), in the student that of blocks {read}: no places of the "
                    "new blocks make these the same values."
                )
        options.append(usual)
    return [dict(some) for some in islice(product(*options), _MAX_TRIES)]


def _reads_alike(stack: Stack, after: tuple[int, ...], taps: dict[str, set[int]]) -> bool:
    """Whether the blocks that are read by others are the same with new blocks after these."""
    sources = [source for source, _ in order(len(stack), len(after), "identity", list(after), stack.name)]
    read = {k - stack.first for k in taps.get(stack.container, set())}
    return {sources[k] for k in read if 0 <= k < len(sources) - 1} <= {*stack.taps, len(stack) - 1}


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
