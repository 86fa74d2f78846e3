"""Means and variances of new features, in the running normalisers that a network brings its inputs to one size with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from net2net.apply import OPERATIONS
from net2net.axes import Atom, Inference, atoms, base_name
from net2net.capture import CASTS, COPIES, MOVES, Node, Value

Kind = Literal["mean", "minus mean", "var", "std", "1/std", "1/var"]
_FROM_VARIANCE: dict[Kind, Callable[[float], float]] = {
    "var": lambda var: var,
    "std": math.sqrt,
    "1/std": lambda var: 1 / math.sqrt(var),
    "1/var": lambda var: 1 / var,
}
# An eps beside a variance of this size doesn't tell the kinds apart.
_PROBE = 7.0


def begun(
    inference: Inference, value: Value, atom: Atom, statistics: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64] | None:
    """What a stored tensor has for features of known statistics; None where it holds neither means nor variances.

    Args:
        inference: of the network.
        value: the stored tensor.
        atom: the axis of the features.
        statistics: a row of mean and variance for each of them.
    """
    kind = next(_kinds(inference, value, value, atom, []), None)
    if kind is None:
        return None
    if kind in ("mean", "minus mean"):
        return statistics[:, 0] if kind == "mean" else -statistics[:, 0]
    return np.array([_FROM_VARIANCE[kind](var) for var in statistics[:, 1]])


def _kinds(
    inference: Inference, stored: Value, value: Value, atom: Atom, made: list[tuple[str, dict[str, Any]]]
) -> Iterator[Kind]:
    """What a stored tensor is, by each of its uses; `made` is what has become of it before it meets the features."""
    for node in value.consumers:
        operation = base_name(node.op)
        if operation in ("aten.batch_norm", "aten.instance_norm"):
            kinds: dict[str, Kind] = {"running_mean": "mean", "running_var": "var"}
            yield from (kind for name, kind in kinds.items() if node.get(name) is stored)
            continue
        others = [v for v in node.inputs if v is not value and v.number is None]
        features = [v for v in others if any(a is atom for term in inference.of(v) for a in atoms(term))]
        if not others and operation in (*MOVES, *CASTS, *COPIES):
            yield from _kinds(inference, stored, node.output, atom, made)
        elif not others and operation in OPERATIONS:
            arguments = {name: _number(a, value) for name, a in node.arguments.items() if a is not None}
            yield from _kinds(inference, stored, node.output, atom, [*made, (operation, arguments)])
        elif len(features) == 1 and len(others) == 1:
            yield from _where_it_meets(node, operation, value, features[0], made)


def _where_it_meets(
    node: Node, operation: str, value: Value, features: Value, made: list[tuple[str, dict[str, Any]]]
) -> Iterator[Kind]:
    divides = operation == "aten.div" and node["other"] is value
    if operation in ("aten.sub", "aten.add") and not made and _is_given(features) and node.get("alpha", 1) == 1:
        if operation == "aten.add" or node["other"] is value:
            yield "mean" if operation == "aten.sub" else "minus mean"
    elif divides or operation == "aten.mul":
        wanted = math.sqrt(_PROBE) if divides else 1 / math.sqrt(_PROBE)
        fitting = (
            kind for kind in _FROM_VARIANCE if abs(_after(_FROM_VARIANCE[kind](_PROBE), made) / wanted - 1) < 0.05
        )
        yield from fitting


def _is_given(value: Value) -> bool:
    """Whether a value is an input as it is given."""
    while value.producer is not None and value.producer.op in (*MOVES, *CASTS, *COPIES):
        value = value.producer.inputs[0]
    return value.kind == "input"


def _number(argument: Any, value: Value) -> Any:
    """An argument of an operation on numbers: "v" is the stored one."""
    if isinstance(argument, Value):
        return "v" if argument is value else argument.number
    return argument


def _after(number: float, made: list[tuple[str, dict[str, Any]]]) -> float:
    result = torch.tensor(number, dtype=torch.float64)
    for operation, arguments in made:
        result = OPERATIONS[operation](**{name: result if a == "v" else a for name, a in arguments.items()})
    return float(result)
