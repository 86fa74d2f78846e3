"""Optimizer state along a plan: what becomes of a tensor of moments when its parameter grows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from net2net.plan import FRESH, AxisMap, Plan, TensorPlan


@dataclass(frozen=True)
class Kind:
    """A kind of state: how it scales where a weight is multiplied by `f` and its gradient by `g`, and what it is at
    entries that are new: `new` times the mean over the old places (row mean x column mean where both axes are new).

    Gradients of single entries are above the mean, and what is under the root must not be too small under an old step
    counter: with twice the mean no new entry moves much faster than the learning rate. Where silence keeps the gradient
    at 0 for the first steps (the random side of a silent unit) the mean would hold the entry back for as long as an
    average of squares remembers: there it is `quiet` times the mean, small but no zero.
    """

    scale: Callable[[Any, Any], Any]
    new: float
    quiet: float


KINDS = {
    "first moment": Kind(lambda g, f: g, 0.0, 0.0),
    "second moment": Kind(lambda g, f: g * g, 2.0, 0.02),
    "absolute moment": Kind(lambda g, f: np.abs(g), math.sqrt(2.0), math.sqrt(0.02)),
    "update": Kind(lambda g, f: np.sign(g), 0.0, 0.0),
    "squared update": Kind(lambda g, f: f * f, 1.0, 1.0),
    "weight": Kind(lambda g, f: f, 0.0, 0.0),
}


# With a ramp of the learning rate new entries need less to hold them back, and learn sooner.
_RAMPED = 0.05


def with_ramp(kind: Kind) -> Kind:
    """The kind for an optimizer whose learning rate starts at 0."""
    share = float(kind.scale(math.sqrt(_RAMPED), math.sqrt(_RAMPED)))
    return replace(kind, new=kind.new * share, quiet=kind.quiet * share)


def lineage(plan: Plan, name: str) -> tuple[str, tuple[TensorPlan, ...]]:
    """The teacher's tensor that a tensor of the student comes from, and the steps on the way, the first one first."""
    step = plan.tensors.get(name)
    source = name if step is None or step.source is None else step.source
    root, earlier = (source, ()) if plan.earlier is None else lineage(plan.earlier, source)
    return root, earlier if step is None else (*earlier, step)


def grow_moment(tensor: torch.Tensor, steps: Sequence[TensorPlan], kind: Kind) -> torch.Tensor:
    """State of a parameter of the student, from that of the teacher's parameter.

    Args:
        tensor: the teacher's state, of the shape of its parameter.
        steps: what happens to the parameter, from `lineage`.
        kind: how such state scales.

    Returns:
        A new tensor of the shape of the student's parameter, in the same dtype and on the same device.

    Source: the moments of a gradient that is multiplied by g are multiplied by g and by g squared; the rank-1 estimate
        for new entries is Adafactor's (Shazeer and Stern, 2018).
    """
    result = tensor.detach().clone(memory_format=torch.contiguous_format)
    if result.dtype in (torch.float16, torch.bfloat16):
        result = result.float()  # round once, at the end
    for step in steps:
        result = _grown(step.seen(result), step, kind)
    return result.to(tensor.dtype).contiguous()


def _grown(tensor: torch.Tensor, step: TensorPlan, kind: Kind) -> torch.Tensor:
    if step.new or step.fill != "source":
        if kind.new == 0.0:
            return tensor.new_zeros(step.shape)
        tensor = tensor * kind.new
        if step.fill == "identity" or not _fits(tensor, step):
            return _level(tensor, step.shape)
    result = tensor if step.scale == 1.0 else tensor * float(kind.scale(1.0 / step.scale, step.scale))
    level = torch.ones(step.shape, dtype=tensor.dtype, device=tensor.device)
    for axis, axis_map in enumerate(step.axes):
        if axis_map is not None:
            result = _along(result, axis, axis_map, kind)
            _mark(level, axis, axis_map.source < 0, kind.new)
    for axis, axis_map in enumerate(step.axes):
        if axis_map is not None:
            _mark(level, axis, _is_quiet(axis_map), kind.quiet)
    if step.redrawn is not None:
        level[torch.from_numpy(step.redrawn).to(level.device).expand(step.shape)] = kind.new
    return result * level


def _mark(level: torch.Tensor, axis: int, places: np.ndarray, value: float) -> None:
    level.index_fill_(axis, torch.from_numpy(np.flatnonzero(places)).to(level.device), value)


def _is_quiet(axis_map: AxisMap) -> np.ndarray:
    """The places on the random side of silent units: a pair is not silent, its halves cancel."""
    if axis_map.fresh is None or axis_map.partner is not None:
        return np.zeros(len(axis_map.source), dtype=bool)
    found: np.ndarray = axis_map.fresh == FRESH.index("random")
    return found


def _level(tensor: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """State for a tensor that copies none: the level of its relative's, row by row where they have the same rows."""
    rows = tensor.flatten(1) if tensor.dim() > 1 else tensor[:, None]
    level = rows.mean(1)
    if shape[0] != len(level):
        level = level.mean(0, keepdim=True)
    return level.reshape(-1, *(1,) * (len(shape) - 1)).expand(shape).clone()


def _fits(tensor: torch.Tensor, step: TensorPlan) -> bool:
    """Whether the plan's axes are about a tensor of this shape."""
    return tensor.dim() == len(step.shape) and all(
        before == after if m is None else before == m.before
        for before, after, m in zip(tensor.shape, step.shape, step.axes, strict=True)
    )


def _along(tensor: torch.Tensor, axis: int, axis_map: AxisMap, kind: Kind) -> torch.Tensor:
    """One axis of a state tensor: copies of old places, scaled, and the mean of the old places for new ones."""
    source = axis_map.source
    result = tensor.index_select(axis, torch.from_numpy(np.maximum(source, 0)).to(tensor.device))
    if axis_map.factor is not None or axis_map.gradient is not None:
        factor = np.ones(len(source)) if axis_map.factor is None else axis_map.factor
        gradient = np.ones(len(source)) if axis_map.gradient is None else axis_map.gradient
        scale = torch.from_numpy(kind.scale(gradient, factor)).to(result)
        result *= scale.reshape([-1 if d == axis else 1 for d in range(result.dim())])
    new = torch.from_numpy(np.flatnonzero(source < 0)).to(tensor.device)
    if len(new):
        shape = [len(new) if d == axis else s for d, s in enumerate(result.shape)]
        values = tensor.mean(axis, keepdim=True)
        result.index_copy_(axis, new, values.expand(shape).contiguous())
    return result


@dataclass(frozen=True)
class Scales:
    """What a growth does to a whole tensor, where it does the same to all of its entries: `weight` and `gradient`
    multiply an entry and its gradient, `copies` says how often each place of an axis is there."""

    weight: float
    gradient: float
    copies: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]


def more_inputs(steps: Sequence[TensorPlan]) -> float:
    """How many times as many inputs a tensor has after the growth."""
    return math.prod(
        len(m.source) / m.before for step in steps for m in step.axes if m is not None and m.contracted and not step.new
    )


class NotUniformError(Exception):
    """The entries of a tensor are treated differently; the message says how."""


def scales_of(before: tuple[int, ...], steps: Sequence[TensorPlan]) -> Scales:
    """The scales of a tensor that grew by even copies.

    Raises:
        NotUniformError: it has new entries, noise, uneven shares, or places copied more often than others.
    """
    found = Scales(1.0, 1.0, (1,) * len(before), before, before)
    for step in steps:
        if step.new or step.fill != "source":
            raise NotUniformError("it is new, so the teacher has no trajectory for it")
        if step.noise:
            raise NotUniformError("it has noise")
        if step.redrawn is not None:
            raise NotUniformError("some of its entries are drawn anew")
        if step.view is not None:
            raise NotUniformError("it is a stack of parts of the teacher's")
        weight, gradient = found.weight * step.scale, found.gradient / step.scale
        copies = []
        for k, m in enumerate(step.axes):
            if m is None:
                copies.append(found.copies[k])
                continue
            if (m.source < 0).any():
                raise NotUniformError("it has entries that are new")
            counts = np.unique(np.unique(m.source, return_counts=True)[1])
            if len(counts) > 1:
                raise NotUniformError("some of its places are copied more often than others")
            copies.append(found.copies[k] * int(counts[0]))
            weight *= _only(m.factor)
            gradient *= _only(m.gradient)
        found = replace(found, weight=weight, gradient=gradient, copies=tuple(copies), after=step.shape)
    return found


def _only(values: np.ndarray | None) -> float:
    if values is None:
        return 1.0
    if np.ptp(values) > 1e-12 * np.abs(values).max():
        raise NotUniformError("its entries don't have the same share")
    return float(values[0])
