"""What a stored tensor is to an axis of it: what its entries for new places have to be."""

from __future__ import annotations

from typing import Literal

from net2net.axes import Flow, Inference, base_name, flow_of
from net2net.capture import Value
from net2net.sites import passed_by, shifts_of

# "added" to what stands there; a "scale" of it; rows of a "weight" that makes it; rows of a "table" that is looked up.
Role = Literal["added", "scale", "weight", "table"]
_TABLES = ("aten.embedding", "aten.embedding_bag")
_ROOTS = ("aten.sqrt", "aten.rsqrt", "aten.reciprocal", "aten.pow", "aten.square")


def reached_by(value: Value) -> set[Value]:
    """A value and all that is computed from its entries."""
    found, left = {value}, [value]
    while left:
        one = left.pop()
        for node in one.consumers:
            lends = flow_of(node) is Flow.PASS and one not in passed_by(node)  # its shape, or its dtype
            new = [] if lends else [output for output in node.outputs if output not in found]
            found.update(new)
            left += new
    return found


def role_of(inference: Inference, value: Value) -> Role | None:
    """What a stored tensor is, by its uses: a table before all else, and what is added before a scale."""
    found = set(_roles(inference, value))
    order: tuple[Role, ...] = ("table", "weight", "added", "scale")
    return next((role for role in order if role in found), None)


def _roles(inference: Inference, value: Value) -> list[Role]:
    found: list[Role] = ["added"] if value in inference.graph.outputs.values() else []
    for node in value.consumers:
        op, flow = base_name(node.op), flow_of(node)
        if op in _TABLES and node["weight"] is value:
            found.append("table")
        elif any(value is shift for shift in shifts_of(node)):
            found.append("added")
        elif flow is Flow.CONTRACT:
            found.append("weight")
        elif isinstance(node.get("params"), (list, tuple)) or "w_ih" in node.arguments:  # a recurrent layer
            found.append("weight" if len(value.shape) > 1 else "added")
        elif flow is Flow.AFFINE:
            found.append("added" if value in (node.get("bias"), node.get("running_mean")) else "scale")
        elif flow is Flow.SUM and len(node.inputs) > 1:
            found.append("added")
        elif op in _ROOTS or flow is Flow.PRODUCT:
            found.append("weight" if op == "aten._weight_norm" and value is node["v"] else "scale")
        elif len(node.outputs) == 1:
            found.extend(_roles(inference, node.output))
    return found
