"""Numbers in a forward that are computed from a size: weights before or after them make up for their change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from net2net.axes import Flow, Inference, flow_of
from net2net.capture import Node, Value
from net2net.errors import CouplingError
from net2net.plan import AxisMap, Plan, TensorPlan
from net2net.sites import Mask, NotPossible, Scaling, Sites, absorbed


@dataclass(frozen=True)
class Constant:
    """A number in the forward that depends on a size: `value` (an input of `node`) must be multiplied by `ratio`."""

    node: Node
    value: Value
    ratio: float


def compensate(plan: Plan, sites: Sites, constants: list[Constant]) -> Plan:
    """The plan with the weights scaled so that the constants' changes cancel.

    Raises:
        CouplingError: no weight can make up for a constant.

    Example: scaled-dot-product attention divides by the root of the head size; when that grows, the query
    projection is multiplied by the root of the growth (growth_rules: "q * sqrt(hd'/hd)").
    """
    tensors = dict(plan.tensors)
    while constants:
        ratio = constants[0].ratio
        alike = [c for c in constants if math.isclose(c.ratio, ratio, rel_tol=1e-12)]
        constants = [c for c in constants if c not in alike]
        for scaling in _scalings(sites.inference, alike):
            for name, power in scaling.wholes.items():
                shape = sites.inference.graph.state[name].shape
                tensor = tensors.get(name, TensorPlan(shape, (None,) * len(shape)))
                factor = ratio**power
                regions = [(axis, rows) for (place, axis), rows in scaling.regions.items() if place == name]
                if regions:
                    tensors[name] = _scaled_rows(tensor, shape, *regions[0], factor)
                else:
                    offset = scaling.offsets.get(name, tensor.offset)
                    tensors[name] = replace(tensor, scale=tensor.scale * factor, offset=offset)
    return replace(plan, tensors=tensors)


def _scalings(inference: Inference, constants: list[Constant]) -> Iterator[Scaling]:
    """What has to be scaled for each constant; together, where layers that run twice meet the same one twice."""
    if len(constants) > 1:
        before = Scaling(inference, frozenset(n for v in inference.graph.state.values() for n in v.consumers))
        together: Scaling | None = None
        try:
            for constant in constants:
                before.whole(constant.value, constant.node)
            together = Scaling(inference, frozenset(before.readers))
            for constant in constants:
                together.whole(constant.value, constant.node)
        except NotPossible:
            together = None
        if together is not None and not together.unmet():
            yield together
            return
    for constant in constants:
        yield _scaling(inference, constant)


def _scaling(inference: Inference, constant: Constant) -> Scaling:
    scaling = Scaling(inference)
    try:
        scaling.whole(constant.value, constant.node)
        return scaling
    except NotPossible as reason:
        before = str(reason)
    try:
        if flow_of(constant.node) is not Flow.PRODUCT:
            raise NotPossible("it is not a factor of the result")
        return absorbed(inference, constant.node.output)
    except NotPossible as reason:
        raise CouplingError(
            f"{constant.node.where} multiplies by a number that is computed from a size, and no weight can make up "
            f"for its change: before it, {before}; after it, {reason}."
        ) from None


def _scaled_rows(tensor: TensorPlan, shape: tuple[int, ...], axis: int, rows: Mask, factor: float) -> TensorPlan:
    """The plan of a tensor with some of the teacher's rows multiplied."""
    old = tensor.axes[axis] or AxisMap(np.arange(shape[axis]))
    inside = (old.source >= 0) & rows[np.maximum(old.source, 0)]
    before = np.ones(len(old.source)) if old.factor is None else old.factor
    gradient = np.ones(len(old.source)) if old.gradient is None else old.gradient
    scaled = replace(
        old,
        factor=np.where(inside, before * factor, before),
        gradient=np.where(inside, gradient / factor, gradient),
    )
    return replace(tensor, axes=(*tensor.axes[:axis], scaled, *tensor.axes[axis + 1 :]))
