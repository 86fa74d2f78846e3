"""Features that go: constants, which the biases behind them take over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from net2net.apply import OPERATIONS, value_of
from net2net.axes import Atom, Contraction, Inference, atoms, base_name
from net2net.capture import CASTS, COPIES, MOVES, STRETCHES, Node, Value
from net2net.errors import FixedDimensionError
from net2net.plan import Plan, Shift
from net2net.sites import NotPossible, Sites
from net2net.surgeries._divide import places_of

_HANDED_ON = (
    *MOVES, *CASTS, *COPIES, *STRETCHES, "aten.cat", "aten.concat", "aten.split", "aten.split_with_sizes", "aten.chunk",
    "aten.expand",
)  # fmt: skip


_BATCH_NORM = "aten.batch_norm"
_OF_A_BATCH_NORM = ("input", "weight", "bias", "running_mean", "running_var", "eps")
# They put more of what is there beside it: of a constant the constant.
_PADS = ("aten.reflection_pad", "aten.replication_pad", "aten._pad_circular")


def shifts(sites: Sites, atom: Atom, constants: npt.NDArray[np.float64]) -> Iterator[tuple[str, Shift]]:
    """For each bias behind a feature that goes, what it takes over.

    Args:
        sites: of the network.
        atom: the axis of the features.
        constants: for each place that goes its constant, NaN elsewhere.

    Raises:
        NotPossible: something else than a weight with a bias reads it.
    """
    inference = sites.inference
    mixed = [s.node for s in sites.normalisations[atom]] + [s.node for s in sites.reductions[atom]]
    if mixed:
        raise NotPossible(f"{mixed[0].where} mixes all the features, not by a weight")
    seen: set[tuple[str, str]] = set()
    for site in sites.contractions[atom]:
        weight, axis = site.weight
        if not weight.is_state or site.other is None:
            raise NotPossible(f"{site.node.where} reads it by a weight that is computed, not stored")
        formula = _formula(inference, site.other[0], atom)
        if formula == "x" and not np.nan_to_num(constants).any():
            continue  # a 0 adds nothing
        found = _taking(site)
        if found is None:
            continue  # a mean that is taken anew each time takes it away
        if (found.value.name, weight.name) in seen:
            continue  # read once more, as in train mode
        seen.add((found.value.name, weight.name))
        readers = {t.node for s in sites.contractions[atom] if s.weight[0] is weight and (t := _taking(s)) is not None}
        if any(reader not in readers for reader in found.value.consumers):
            raise NotPossible(f"the bias '{found.value.name}' is added elsewhere too")
        places = places_of(inference.of(weight)[axis], atom)
        places = np.where((places >= 0) & ~np.isnan(constants)[places], places, -1)
        sign = ["aten.neg", {"self": formula}] if found.is_taken_away else formula
        yield found.value.name, Shift(weight.name, axis, places, np.nan_to_num(constants), sign)


class _Taking(NamedTuple):
    """What takes over what a weight makes of constants: a stored vector that a node adds, or takes away."""

    value: Value
    node: Node
    is_taken_away: bool = False


def _taking(site: Contraction) -> _Taking | None:
    """The bias of the layer that reads the features; or the running mean of the BatchNorm behind a layer without one,
    which has the same constant in what it takes away in train mode. None where that keeps no running mean.

    Raises:
        NotPossible: there is nothing like it.
    """
    node, (weight, _) = site.node, site.weight
    if "transpose" in node.op or node.get("transposed"):
        raise NotPossible(f"{node.where} is a transposed convolution, which makes no constant of one")
    if node.get("groups", 1) != 1:
        raise NotPossible(f"{node.where} has groups, one of which would have fewer channels than the others")
    if _is_padded(node):
        raise NotPossible(
            f"{node.where} pads with zeros, so that the feature is no constant at the border (0 may go there, where "
            "nothing is between)"
        )
    bias = _added(node, weight)
    if bias is not None and bias.is_state and len(bias.shape) == 1:
        return _Taking(bias, node)
    behind = node.output.consumers if bias is None and len(node.outputs) == 1 else []
    if behind and all(base_name(one.op) == "aten.batch_norm" for one in behind):
        mean = behind[0].get("running_mean")
        return None if mean is None else _Taking(mean, behind[0], is_taken_away=True)
    if len(behind) == 1 and base_name(behind[0].op) == "aten.add":
        stored = [v for v in behind[0].inputs if v.is_state and len(v.shape) == 1]
        if len(stored) == 1 and behind[0].get("alpha", 1) == 1:
            return _Taking(stored[0], behind[0])
    raise NotPossible(
        f"{node.where} has no bias that could take its constant over (0 needs none), and a layer of its class without "
        "one has no place for it. Give it a bias of zeros first"
    )


def require_settled(plan: Plan, state: Mapping[str, torch.Tensor]) -> None:
    """Raise if a BatchNorm that reads a constant makes one thing of it in eval mode and another in train mode.

    Raises:
        FixedDimensionError: its running mean isn't the constant yet.
    """
    for tensor in plan.tensors.values():
        for shift in tensor.shifts:
            gone = torch.from_numpy(np.unique(shift.places[shift.places >= 0]))
            for norm in _batch_norms(shift.formula):
                read, mean = (value_of(norm[name], shift, state)[gone] for name in ("input", "running_mean"))
                if not torch.allclose(read, mean, rtol=1e-6, atol=1e-6):
                    raise FixedDimensionError(
                        f"a feature that goes is constant where a BatchNorm reads it ({float(read[0]):.4g}), and its "
                        f"running mean there isn't that yet ({float(mean[0]):.4g}): it makes another constant of it in "
                        "eval mode than in train mode. Train on the constant until its mean has come to it."
                    )


def _batch_norms(formula: Any) -> Iterator[Mapping[str, Any]]:
    """The arguments of every BatchNorm in a formula."""
    if isinstance(formula, (list, tuple)):
        operation, arguments = formula
        if operation == _BATCH_NORM:
            yield arguments
        for argument in arguments.values():
            yield from _batch_norms(argument)


def _is_padded(node: Node) -> bool:
    padding = node.get("padding")
    return padding == "same" or (isinstance(padding, (list, tuple)) and any(padding))


def _added(node: Node, weight: Value) -> Value | None:
    if "w_ih" in node.arguments:
        found = node.get("b_ih")
    elif isinstance(node.get("params"), (list, tuple)):
        weights = list(node["params"])
        found = weights[weights.index(weight) + 2] if node["has_biases"] else None
    elif node.op.startswith("aten.addmm"):
        found = node["self"]
    else:
        found = node.get("bias")
    return found if isinstance(found, Value) else None


def _formula(inference: Inference, value: Value, atom: Atom) -> Any:
    """What the network makes of the features before a weight reads them.

    Raises:
        NotPossible: something that a plan can't say.
    """
    if value.kind == "input" and _has(inference, value, atom):
        return "x"
    if value.is_state:
        return _stored(inference, value, atom)
    if value.number is not None:
        return value.number
    node = value.producer
    if node is None:
        raise NotPossible(f"it is combined with '{value.name}', which is no stored tensor")
    if node.op in _HANDED_ON or node.op.startswith(_PADS) or (node.op == "aten.pad" and node["mode"] != "constant"):
        carriers = [v for v in node.inputs if _has(inference, v, atom)] or node.inputs[:1]
        if len(carriers) == 1:
            return _formula(inference, carriers[0], atom)
    operation = base_name(node.op)
    if operation == _BATCH_NORM and node.get("running_mean") is None:  # the mean of a constant is all of it
        bias = node.get("bias")
        return 0.0 if bias is None else _stored(inference, bias, atom)
    if operation not in OPERATIONS:
        raise NotPossible(f"{node.where} is between it and the weight that reads it")
    return [operation, {name: _argument(inference, node, name, a, atom) for name, a in _given(node)}]


def _stored(inference: Inference, value: Value, atom: Atom) -> Any:
    """The entries of a stored tensor that stand at the places of the features, or its only one.

    Raises:
        NotPossible: several stand at one place.
    """
    axis = next((d for d, term in enumerate(inference.of(value)) if any(a is atom for a in atoms(term))), None)
    if axis is None:
        return {"state": value.name}
    places = places_of(inference.of(value)[axis], atom)
    if value.shape[axis] != np.prod(value.shape) or (np.bincount(places[places >= 0]) > 1).any():
        raise NotPossible(f"'{value.name}' has several numbers for one feature")
    at = np.argsort(places)[(places < 0).sum() :]
    return {"state": value.name} if len(at) == len(places) else {"state": value.name, "at": at.tolist()}


def _given(node: Node) -> Iterator[tuple[str, Any]]:
    for name, argument in node.arguments.items():
        if base_name(node.op) == _BATCH_NORM and name not in _OF_A_BATCH_NORM:
            continue
        if argument is not None and not (name == "alpha" and argument == 1):
            yield name, argument


def _argument(inference: Inference, node: Node, name: str, argument: Any, atom: Atom) -> Any:
    if isinstance(argument, Value):
        if len(argument.shape) > 0 and not _has(inference, argument, atom) and np.prod(argument.shape) != 1:
            raise NotPossible(f"{node.where} combines it with '{argument.name}', which has other axes")
        return _formula(inference, argument, atom)
    if isinstance(argument, (int, float)) and not isinstance(argument, bool):
        return argument
    raise NotPossible(f"{node.where} has {name}={argument!r}")


def _has(inference: Inference, value: Value, atom: Atom) -> bool:
    return any(a is atom for term in inference.of(value) for a in atoms(term))
