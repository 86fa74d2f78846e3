"""Following a value through the graph: what the operations on the way do to one dimension of it."""

from __future__ import annotations

from net2net.axes import Atom, Contraction, Flow, Inference, atoms, flow_of
from net2net.capture import Node, Value


class NotPossible(Exception):
    """The value can't be traced back; the message says why."""


def axes_with(inference: Inference, value: Value, atom: Atom) -> list[int]:
    """The axes of a value that the atom is a part of."""
    return [d for d, term in enumerate(inference.of(value)) if any(a is atom for a in atoms(term))]


def carries(inference: Inference, value: Value, atom: Atom) -> bool:
    """Whether the atom is a part of an axis of the value."""
    return bool(axes_with(inference, value, atom))


def summed_at(inference: Inference, node: Node, value: Value, axis: int, atom: Atom) -> Contraction | None:
    """The contraction at `node` that sums over the atom in this axis of this operand."""
    for contraction in inference.contractions_at(node):
        if (value, axis) in (contraction.weight, contraction.other) and any(a is atom for a in atoms(contraction.term)):
            return contraction
    return None


def only_summed(inference: Inference, value: Value, axis: int, atom: Atom) -> bool:
    """Whether every use of the value sums over the atom in this axis: factors put there are felt nowhere else."""
    if not value.consumers or value in inference.graph.outputs.values() or value in inference.graph.mutated:
        return False
    for node in value.consumers:
        contraction = summed_at(inference, node, value, axis, atom)
        if contraction is not None:
            if contraction.other is not None and contraction.other[0] is contraction.weight[0]:
                return False  # a product of the value with itself would feel the factor twice
            if any(r.node is node and r.value is value for r in inference.reductions):
                return False  # its norm is felt too
            continue
        if flow_of(node) is not Flow.PASS or value not in passed_by(node):
            return False
        for output in node.outputs:
            after = axes_with(inference, output, atom)
            if len(after) > 1:
                after = [d for d in after if inference.of(output)[d] is inference.of(value)[axis]]
            if after and (len(after) > 1 or not only_summed(inference, output, after[0], atom)):
                return False
        if not any(carries(inference, output, atom) for output in node.outputs):
            return False
    return True


_JOINS = (
    "aten.cat",
    "aten.concat",
    "aten.concatenate",
    "aten.stack",
    "aten.vstack",
    "aten.hstack",
    "aten.column_stack",
    "aten.dstack",
    "aten.broadcast_tensors",
)
_MERGED = {  # operations that put units of several operands in one place
    "aten.where": ("self", "other"), "aten.masked_fill": ("self", "value"), "aten.index_put": ("self", "values"),
    "aten.index_add": ("self", "source"), "aten.index_copy": ("self", "source"),
    "aten.index_reduce": ("self", "source"), "aten.slice_scatter": ("self", "src"),
    "aten.select_scatter": ("self", "src"),
    "aten.scatter": ("self", "src"), "aten.scatter_add": ("self", "src"), "aten.scatter_reduce": ("self", "src"),
}  # fmt: skip


def merged(node: Node) -> list[Value]:
    """The operands whose units an operation puts in one place, where it has several such."""
    names = _MERGED.get(node.op.removesuffix("_"), ())
    return [v for v in map(node.get, names) if isinstance(v, Value)]


def passed_by(node: Node) -> list[Value]:
    """What an operation that passes units on takes them from; a second operand may only lend its shape or dtype."""
    return merged(node) or (node.inputs if node.op in _JOINS else node.inputs[:1])


def multiplied(node: Node, operands: list[Value]) -> list[Value]:
    """Of the operands of a product, those that scale it: not what it is divided by, nor what is brought to norm 1."""
    if "div" in node.op:
        return [v for v in operands if v is node["self"]]
    return operands[-1:] if node.op == "aten._weight_norm" else operands


_NORMS = ("aten.linalg_vector_norm", "aten.norm", "aten.frobenius_norm")
_GUARDS = ("aten.clamp_min", "aten.clamp", "aten.add", "aten.expand", "aten.expand_as")


def norm_behind(value: Value) -> Node | None:
    """The node whose norm a value is, held away from 0 or not."""
    node = value.producer
    while node is not None and node.op in _GUARDS:
        node = node.inputs[0].producer
    return node if node is not None and node.op in _NORMS else None


_HOMOGENEOUS = (
    "aten.relu", "aten.leaky_relu", "aten.rrelu", "aten.abs", "aten.prelu", "aten._prelu_kernel",
    "aten.max_pool1d", "aten.max_pool2d", "aten.max_pool3d", "aten.adaptive_max_pool1d", "aten.adaptive_max_pool2d",
    "aten.adaptive_max_pool3d", "aten.amax", "aten.amin",
)  # fmt: skip


def is_homogeneous(node: Node) -> bool:
    """Whether f(c x) = c f(x) for c > 0, so that a positive factor passes."""
    return node.op.removesuffix("_") in _HOMOGENEOUS


def makes_zeros(node: Node) -> bool:
    """Whether an operation makes a tensor of zeros."""
    return node.op in ("aten.zeros", "aten.new_zeros", "aten.zeros_like")


def factors_of(node: Node) -> list[Value]:
    """The operands of a product: where one is scaled or 0, so is the result."""
    if node.op == "aten.scaled_dot_product_attention":
        return [node["value"]]
    shifts = shifts_of(node)
    return [v for v in node.inputs if v.dtype.is_floating_point and not any(v is s for s in shifts)]


def shifts_of(node: Node) -> list[Value]:
    """What a product adds to its result: a bias."""
    added = [node.get("bias")]
    if node.op.startswith(("aten.addmm", "aten.baddbmm")):
        added.append(node.get("self"))
    return [v for v in added if isinstance(v, Value)]
