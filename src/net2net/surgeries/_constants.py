"""Features that go: constants, which the biases behind them take over."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from net2net.apply import OPERATIONS
from net2net.axes import Atom, Contraction, Inference, atoms, base_name
from net2net.capture import CASTS, COPIES, MOVES, STRETCHES, Node, Value
from net2net.plan import Shift
from net2net.sites import NotPossible, Sites
from net2net.surgeries._divide import places_of

_HANDED_ON = (
    *MOVES, *CASTS, *COPIES, *STRETCHES, "aten.cat", "aten.concat", "aten.split", "aten.split_with_sizes", "aten.chunk",
    "aten.expand",
)  # fmt: skip


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
        bias = _bias(sites, site, atom)
        if (bias.name, weight.name) in seen:
            continue  # read once more, as in train mode
        seen.add((bias.name, weight.name))
        places = places_of(inference.of(weight)[axis], atom)
        places = np.where((places >= 0) & ~np.isnan(constants)[places], places, -1)
        yield bias.name, Shift(weight.name, axis, places, np.nan_to_num(constants), formula)


def _bias(sites: Sites, site: Contraction, atom: Atom) -> Value:
    """The bias of the layer that reads the features.

    Raises:
        NotPossible: it has none, or one that others add too.
    """
    node, (weight, _) = site.node, site.weight
    if node.get("groups", 1) != 1 or node.get("transposed") or "transpose" in node.op:
        raise NotPossible(f"{node.where} is a grouped or transposed convolution")
    if _is_padded(node):
        raise NotPossible(f"{node.where} pads with zeros, so that the feature is no constant at the border")
    bias = _added(node, weight)
    if bias is None or not bias.is_state or len(bias.shape) != 1:
        raise NotPossible(f"{node.where} has no bias that could take its constant over (0 needs none)")
    readers = {c.node for c in sites.contractions[atom] if c.weight[0] is weight}
    if any(reader not in readers for reader in bias.consumers):
        raise NotPossible(f"the bias '{bias.name}' is added elsewhere too")
    return bias


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
        return {"state": value.name}
    if value.number is not None:
        return value.number
    node = value.producer
    if node is None:
        raise NotPossible(f"it is combined with '{value.name}', which is no stored tensor")
    if node.op in _HANDED_ON:
        carriers = [v for v in node.inputs if _has(inference, v, atom)] or node.inputs[:1]
        if len(carriers) == 1:
            return _formula(inference, carriers[0], atom)
    operation = base_name(node.op)
    if operation not in OPERATIONS:
        raise NotPossible(f"{node.where} is between it and the weight that reads it")
    return [operation, {name: _argument(inference, node, name, a, atom) for name, a in _given(node)}]


def _given(node: Node) -> Iterator[tuple[str, Any]]:
    for name, argument in node.arguments.items():
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
