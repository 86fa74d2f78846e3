"""Tensors of modules that the files hold in parts: one tensor of a module's for all experts, one for each in the files.

transformers joins the parts when it loads a model and takes them apart when it saves one. What it does to a tensor is
read off a tensor of row numbers that it takes apart.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net.errors import NeedsMemory
from net2net.huggingface._folder import Folder, Part, Stored
from net2net.plan import AxisMap, TensorPlan
from net2net.pretrained import shapes

Parts = dict[str, tuple[Part, ...]]


def parts_of(model: nn.Module, names: set[str] | None = None) -> Parts:
    """How the files of a model hold its tensors: the parts of each, in the order of their places in it.

    Args:
        model: of transformers; its weights may be on the meta device.
        names: which of its tensors are asked for; all by default.

    Raises:
        NeedsMemory: a tensor isn't cut between rows.
    """
    take_apart = _reversed_conversions(model)
    found: Parts = {}
    for name, shape in shapes(model).items():
        if names is None or name in names:
            found[name] = tuple(_cut(name, shape, take_apart)) if take_apart else (Part(name, None, 0, _rows(shape)),)
    return found


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] if shape else 1


def _reversed_conversions(model: Any) -> Any:
    """What saves a state dict as the files have it, for tensors one by one; None where they are as the modules have."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import PrefixChange, revert_weight_conversion
    except ImportError:  # transformers 4 has its modules as the files are
        return None
    conversions = [c for c in get_model_conversion_mapping(model, add_legacy=False) if not isinstance(c, PrefixChange)]
    if not conversions:
        return None
    model._weight_conversions = conversions
    return lambda state: revert_weight_conversion(model, state)


def _cut(name: str, shape: tuple[int, ...], take_apart: Any) -> Iterator[Part]:
    """The parts of a tensor, read off the numbers of its rows: those of its first two axes where it has three."""
    stacked = len(shape) == 3
    rows = shape[:2] if stacked else shape[:1] or (1,)
    numbers = torch.arange(int(np.prod(rows)), dtype=torch.int32).reshape(*rows, *[1] * (len(shape) - len(rows)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pieces = take_apart({name: numbers.reshape(shape) if not shape else numbers})
    except Exception as error:  # a conversion of several tensors at once, or of columns
        raise NeedsMemory(f"how the files hold '{name}' isn't known: {type(error).__name__}.") from error
    found = []
    for file_name, piece in pieces.items():
        flat = piece.reshape(-1)
        first, count = int(flat[0]), len(flat)
        if not torch.equal(flat, first + torch.arange(count, dtype=flat.dtype)):
            raise NeedsMemory(f"the files hold '{name}' with its rows in another order ('{file_name}').")
        whole = count == numbers.numel() and piece.dim() == len(shape)
        if whole:
            found.append(Part(file_name, None, 0, rows[0]))
        elif stacked and piece.dim() == 2 and first // rows[1] == (first + count - 1) // rows[1]:
            found.append(Part(file_name, first // rows[1], first % rows[1], first % rows[1] + count))
        else:
            raise NeedsMemory(f"the files hold '{name}' in parts that are no rows of experts ('{file_name}').")
    if sum(part.stop - part.start for part in found) != (rows[0] if found[0].expert is None else numbers.numel()):
        raise NeedsMemory(f"the files hold '{name}' in parts that aren't the whole of it.")
    yield from sorted(found, key=lambda part: (part.expert or 0, part.start))


def by_modules(folder: Folder, model: nn.Module) -> Folder:
    """The folder with its tensors by the names and shapes that they have in the modules; as it is if these are alike.

    Raises:
        NeedsMemory: what belongs together in the files isn't known.
    """
    expected = shapes(model)
    if not folder.tensors.keys() - expected.keys():
        return folder
    found: dict[str, Stored] = {}
    joined: Parts = {}
    rest = dict(folder.tensors)
    for name, parts in parts_of(model, expected.keys() - folder.tensors.keys()).items():
        if not all(part.name in folder.tensors for part in parts):
            continue  # what is missing is told by who looks for it
        stored = [rest.pop(part.name, folder.tensors[part.name]) for part in parts]
        if len({s.dtype for s in stored}) > 1 or not all(
            _fits(p, s, expected[name]) for p, s in zip(parts, stored, strict=True)
        ):
            raise NeedsMemory(f"the parts of '{name}' in the files are of several kinds.")
        found[name] = replace(stored[0], shape=expected[name])
        joined[name] = parts
    return replace(folder, tensors={**rest, **found}, files=folder.files, parts=joined)


def _fits(part: Part, stored: Stored, whole: tuple[int, ...]) -> bool:
    """Whether a tensor of the files is the part of one that it should be."""
    return stored.shape == (whole if part.expert is None else (part.stop - part.start, *whole[2:]))


def by_files(tensors: Mapping[str, TensorPlan], teacher: Folder, student: nn.Module) -> dict[str, TensorPlan]:
    """The plan of the modules' tensors as one of the files' tensors.

    Args:
        tensors: by the names of the modules; sources are names of `teacher`.
        teacher: with its tensors by the names of its modules.
        student: without weights.

    Raises:
        NeedsMemory: a part of the student is made of several of the teacher's.
    """
    if not teacher.parts:
        return dict(tensors)
    found: dict[str, TensorPlan] = {}
    for name, parts in parts_of(student, set(tensors)).items():
        plan = tensors[name]
        source = plan.source or name
        own = teacher.parts.get(source, (Part(source, None, 0, 0),))
        for part in parts:
            found[part.name] = _of_part(name, plan, part, own)
    return found


def _of_part(name: str, plan: TensorPlan, part: Part, own: tuple[Part, ...]) -> TensorPlan:
    if part.expert is None and own[0].expert is None:
        return replace(plan, source=own[0].name)
    one_number = plan.fill == "values" and plan.values is not None and plan.values.size == 1  # a new block's zeros
    whole = plan.fill != "source" and not one_number
    if part.expert is None or own[0].expert is None or any(n.axis == 0 for n in plan.noise) or whole:
        raise NeedsMemory(f"'{name}' is in parts in the files of the teacher or the student only, or drawn as a whole.")
    first, second, *others = plan.axes
    expert = part.expert if first is None else int(first.source[part.expert])
    scale = 1.0 if first is None or first.factor is None else float(first.factor[part.expert])
    mine = np.arange(part.start, part.stop) if second is None else second.source[part.start : part.stop]
    old = mine[mine >= 0]
    of = [p for p in own if p.expert == expert and len(old) and p.start <= old.min() and old.max() < p.stop]
    if not of:
        raise NeedsMemory(f"a part of '{name}' in the files is made of several, or of none.")
    axis = None if second is None else _cut_axis(name, second, part, of[0])
    noise = tuple(replace(n, axis=n.axis - 1) for n in plan.noise)
    shape = (part.stop - part.start, *plan.shape[2:])
    return replace(plan, shape=shape, axes=(axis, *others), scale=plan.scale * scale, noise=noise, source=of[0].name)


def _cut_axis(name: str, axis: AxisMap, part: Part, own: Part) -> AxisMap:
    """The places of an axis that are a part of it, as places of the part that they come from."""

    def cut(values: Any) -> Any:
        return None if values is None else values[part.start : part.stop]

    def moved(values: Any, start: int, stop: int) -> Any:
        inside = cut(values)
        if inside is None:
            return None
        if ((inside >= 0) & ((inside < start) | (inside >= stop))).any():
            raise NeedsMemory(f"a part of '{name}' in the files is made of several.")
        return np.where(inside < 0, -1, inside - start)

    return replace(
        axis,
        source=moved(axis.source, own.start, own.stop),
        factor=cut(axis.factor),
        fresh=cut(axis.fresh),
        partner=moved(axis.partner, part.start, part.stop),
        gradient=cut(axis.gradient),
        before=own.stop - own.start,
    )
