"""Makes the student's tensors from the teacher's, one by one, as a plan says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from net2net.apply._draws import redrawn, uniform
from net2net.apply._pieces import bounds, pieces
from net2net.apply._shifts import shifted
from net2net.apply._threads import alone, in_threads
from net2net.plan import FRESH, AxisMap, Fresh, Noise, Plan, TensorPlan

# Gives the values that a layer's own initialiser would put in a tensor of the student.
Initialiser = Callable[[str], torch.Tensor]


def grow_state(
    plan: Plan, state: Mapping[str, torch.Tensor], initialiser: Initialiser | None = None
) -> dict[str, torch.Tensor]:
    """The student's tensors, by name. Tensors that the plan doesn't name are copied.

    Args:
        plan: the growth.
        state: the teacher's tensors, each of the teacher's shape.
        initialiser: where the plan asks for them, what the layers' own initialisers give for the student: from a name
            to a tensor of `plan.tensors[name].shape`.

    Returns:
        Tensors of the student's shapes, in the dtypes and on the devices of what they are made of; none shares memory
        with the teacher's.
    """
    if plan.earlier is not None:
        state = grow_state(plan.earlier, state, initialiser)
    removed = set(plan.removed)
    names = list(dict.fromkeys([*(n for n in state if n not in removed), *plan.tensors]))

    def grown(name: str) -> torch.Tensor:
        with torch.no_grad():  # a setting of each thread
            if name not in plan.tensors:
                return state[name].detach().clone()
            tensor = plan.tensors[name]
            source = shifted(state[tensor.source or name], tensor.shifts, state)
            return grow_tensor(name, source, tensor, plan.seed, initialiser)

    if initialiser is not None:  # initialisers draw from the global random state
        return {name: grown(name) for name in names}
    return dict(zip(names, in_threads(grown, names), strict=True))


def grow_one(
    plan: Plan, name: str, state: Mapping[str, torch.Tensor], initialiser: Initialiser | None = None
) -> torch.Tensor:
    """One tensor of what `grow_state` makes, by itself: of the teacher's tensors those that it needs are asked for.

    Args:
        plan: the growth.
        name: of the student's tensor; it is named by the plan, or the teacher has it.
        state: the teacher's tensors; whatever is asked for has its whole shape.
        initialiser: as for `grow_state`.
    """

    def below(source: str) -> torch.Tensor:
        return state[source] if plan.earlier is None else grow_one(plan.earlier, source, state, initialiser)

    tensor = plan.tensors.get(name)
    with torch.no_grad(), alone():
        if tensor is None:
            return below(name).detach().clone()
        weights = {shift.weight: below(shift.weight) for shift in tensor.shifts}
        read = dict.fromkeys(path for shift in tensor.shifts for path in shift.reads)
        weights |= {path: below(path) for path in read if path not in weights}
        source = shifted(below(tensor.source or name), tensor.shifts, weights)
        return grow_tensor(name, source, tensor, plan.seed, initialiser)


def grow_tensor(
    name: str, tensor: torch.Tensor, plan: TensorPlan, seed: int, initialiser: Initialiser | None = None
) -> torch.Tensor:
    """One tensor of the student, from the teacher's tensor. It depends on the seed and on itself alone: any order of
    tensors will do.

    Args:
        name: of the student's tensor; the draws depend on it.
        tensor: the teacher's, of any rank; axis k has `plan.axes[k].before` places where that axis grows.
        plan: how it is made.
        seed: of the draws.
        initialiser: as for `grow_state`.

    Returns:
        A tensor of `plan.shape`, in the dtype and on the device of `tensor`: of one without memory, one without memory.
    """
    if tensor.device.type == "meta":
        return tensor.new_empty(plan.shape)
    if plan.fill == "initial":
        assert initialiser is not None
        return initialiser(name).to(tensor)
    tensor = plan.seen(tensor.detach())

    def read(rows: npt.NDArray[np.int64]) -> torch.Tensor:
        if len(rows) == (tensor.shape[0] if tensor.dim() else 1):
            return tensor
        if rows[-1] - rows[0] + 1 == len(rows):
            return tensor.narrow(0, int(rows[0]), len(rows))
        return tensor.index_select(0, torch.from_numpy(rows).to(tensor.device))

    rows = tensor.shape[0] if tensor.dim() else 1
    parts = pieces(name, plan, rows, seed, read, lambda: root_mean_square([tensor]), make_piece)
    places = bounds(plan)
    if len(places) == 1:
        result = next(parts)
    else:
        result = tensor.new_empty(plan.shape)
        for (start, end), part in zip(places, parts, strict=True):
            result[start:end] = part
    if initialiser is None:
        return result
    mask = _new_places(result, plan, "initial")
    if plan.blank:
        mask[list(plan.blank)] = False
    return torch.where(mask, initialiser(name).to(result), result) if mask.any() else result


def make_piece(tensor: torch.Tensor, plan: TensorPlan, rms: float, generator: torch.Generator) -> torch.Tensor:
    """A tensor of the student, or a piece of one, from the teacher's entries that it needs.

    Args:
        tensor: the teacher's rows that `plan.axes[0].source` counts (for a piece: those rows alone, ascending), whole
            along all other axes.
        plan: of the tensor or of the piece: `plan.shape` is (rows of the piece, ...).
        rms: the root mean square of the teacher's whole tensor, which draws are measured by.
        generator: of the draws of this piece.

    Returns:
        A tensor of `plan.shape`.
    """
    exact = tensor if plan.fill == "source" else _filled(tensor, plan)
    scaled = plan.scale != 1.0 or any(m is not None and m.factor is not None for m in plan.axes)
    if scaled and exact.dtype in (torch.float16, torch.bfloat16):
        exact = exact.float()  # round once, at the end
    result = exact if plan.offset == 0.0 else exact + plan.offset
    result = result if plan.scale == 1.0 else result * plan.scale
    # Input sides first: a new output row then covers new columns too, as a silent or random unit must.
    canvas = None
    if all(m is None or m.is_prefix for m in plan.axes):  # one allocation, filled from the old corner outwards
        canvas = result.new_empty(plan.shape)
        corner = _corner(canvas, [min(a, b) for a, b in zip(result.shape, plan.shape, strict=True)])
        result = corner.copy_(_corner(result, corner.shape))
    contracted = [m is not None and m.contracted for m in plan.axes]
    for axis in sorted(range(len(contracted)), key=lambda k: not contracted[k]):
        axis_map = plan.axes[axis]
        if axis_map is not None:
            result = _expand(result, axis, axis_map, rms, generator, canvas)
    if plan.offset != 0.0:
        result = result - plan.offset
    if plan.redrawn is not None:
        result = torch.where(
            torch.from_numpy(plan.redrawn).to(result.device), redrawn(result, plan, rms, generator), result
        )
    for noise in plan.noise:
        axis_map = plan.axes[noise.axis]
        assert axis_map is not None
        drawn = _noise(result, noise, axis_map, rms, generator)
        drawn[list(plan.blank)] = 0.0
        result = result + drawn
    if plan.blank:
        rows = list(plan.blank)
        result[rows] = result[rows].masked_fill(_new_places(result, plan, "random")[rows], 0.0)
    return result.to(tensor.dtype).contiguous()


def _filled(like: torch.Tensor, plan: TensorPlan) -> torch.Tensor:
    """What a tensor that copies no other is before its axes grow."""
    shape = [s if m is None else m.before for s, m in zip(plan.shape, plan.axes, strict=True)]
    result = like.new_zeros(shape)
    if plan.fill == "values":
        assert plan.values is not None
        numbers = torch.from_numpy(plan.values).to(result)
        return result + (numbers.reshape(()) if numbers.numel() == 1 else numbers)
    units = torch.arange(shape[0], device=like.device)
    centre = tuple(k // 2 for k in shape[2:])
    taps = result.permute(*range(2, result.dim()), 0, 1)
    for k in centre:
        taps = taps[k]
    taps[units, units] = 1.0
    return result


def root_mean_square(parts: Iterable[torch.Tensor]) -> float:
    """The root mean square of a tensor that comes in parts."""
    total, count = 0.0, 0
    for part in parts:
        if part.numel() and part.is_floating_point():
            wide = torch.promote_types(part.dtype, torch.float32)
            total += float(torch.linalg.vector_norm(part, dtype=wide)) ** 2
            count += part.numel()
    return math.sqrt(total / count) if count else 0.0


def _corner(canvas: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """The first places of every axis."""
    for axis, length in enumerate(shape):
        canvas = canvas.narrow(axis, 0, length)
    return canvas


def _expand(
    tensor: torch.Tensor,
    axis: int,
    axis_map: AxisMap,
    rms: float,
    generator: torch.Generator,
    canvas: torch.Tensor | None,
) -> torch.Tensor:
    if canvas is not None:  # the tensor is its corner already
        result = _corner(canvas, (*tensor.shape[:axis], len(axis_map.source), *tensor.shape[axis + 1 :]))
    else:
        source = torch.from_numpy(np.maximum(axis_map.source, 0)).to(tensor.device)
        result = tensor.index_select(axis, source)
    if axis_map.factor is not None:
        column = [-1 if d == axis else 1 for d in range(result.dim())]
        result *= torch.from_numpy(axis_map.factor).to(result).reshape(column)
    if axis_map.fresh is not None:
        for code, how in enumerate(FRESH):
            places = np.flatnonzero(axis_map.fresh == code)
            if how == "value" and len(places):
                assert axis_map.values is not None
                column = [-1 if d == axis else 1 for d in range(result.dim())]
                given = torch.from_numpy(axis_map.values[places]).to(result).reshape(column)
                shape = [len(places) if d == axis else s for d, s in enumerate(result.shape)]
                result.index_copy_(axis, torch.from_numpy(places).to(result.device), given.expand(shape).contiguous())
            elif code and len(places):
                _fill(result, tensor, axis, places, how, rms, generator, axis_map.spread)
    if axis_map.partner is not None:
        second = np.flatnonzero(axis_map.partner >= 0)
        if len(second):
            first = torch.from_numpy(axis_map.partner[second]).to(result.device)
            copies = result.index_select(axis, first) * axis_map.sign
            result.index_copy_(axis, torch.from_numpy(second).to(result.device), copies)
    return result


def _fill(
    result: torch.Tensor,
    old: torch.Tensor,
    axis: int,
    places: npt.NDArray[np.int64],
    how: str,
    rms: float,
    generator: torch.Generator,
    spread: float = 1.0,
) -> None:
    """Fill the new places of an axis: zeros, the mean of the old ones, or draws of `spread` times the tensor's size."""
    together = places[-1] - places[0] + 1 == len(places)
    bound = math.sqrt(3) * (rms or 0.02) * spread  # uniform, as torch's own initialisers draw, with the tensor's rms
    region = result.narrow(axis, int(places[0]), len(places)) if together else result.new_empty(0)
    shape = list(result.shape)
    shape[axis] = len(places)
    if how in ("zero", "initial"):
        values = result.new_zeros(()).expand(shape)
    elif how == "mean" or (how == "random" and result.dim() == 1):
        mean = old.mean(axis, keepdim=True)
        values = (mean if how == "mean" else mean * spread).expand(shape)
    elif not result.is_floating_point():
        values = result.new_zeros(shape)
    else:
        values = uniform(shape, result.dtype, bound, generator)
    if together:
        region.copy_(values)
    else:
        result.index_copy_(axis, torch.from_numpy(places).to(result.device), values.to(result.device).contiguous())


def _new_places(result: torch.Tensor, plan: TensorPlan, how: Fresh) -> torch.Tensor:
    """Every entry with a new place on any axis that is filled in this way."""
    mask = torch.zeros(result.shape, dtype=torch.bool, device=result.device)
    for axis, axis_map in enumerate(plan.axes):
        if axis_map is not None and axis_map.fresh is not None:
            new = torch.from_numpy(axis_map.fresh == FRESH.index(how)).to(result.device)
            mask |= new.reshape([-1 if d == axis else 1 for d in range(result.dim())])
    return mask


def _noise(like: torch.Tensor, noise: Noise, axis_map: AxisMap, rms: float, generator: torch.Generator) -> torch.Tensor:
    drawn = torch.empty(like.shape, dtype=like.dtype)
    if noise.kind == "uniform":
        drawn.uniform_(-noise.scale, noise.scale, generator=generator)
    else:
        drawn.normal_(0.0, noise.scale * rms, generator=generator)
    drawn = drawn.to(like.device)
    source = axis_map.source
    column = [-1 if d == noise.axis else 1 for d in range(like.dim())]
    if noise.kind != "zero_sum":
        first = np.zeros(len(source), dtype=bool)
        first[np.unique(source, return_index=True)[1]] = True
        keep = torch.from_numpy((source >= 0) & ~first).to(like)
        return drawn * keep.reshape(column)
    groups = torch.from_numpy(np.where(source < 0, source.max() + 1, source)).to(like.device)
    counts = torch.bincount(groups).clamp(min=1).to(like)
    totals = like.new_zeros([len(counts) if d == noise.axis else s for d, s in enumerate(like.shape)])
    totals.index_add_(noise.axis, groups, drawn)
    means = (totals / counts.reshape(column)).index_select(noise.axis, groups)
    is_copy = torch.from_numpy(source >= 0).to(like)
    return (drawn - means) * is_copy.reshape(column)
