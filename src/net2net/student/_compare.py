"""Does a draft compute what the plan expects? Shape by shape, constant by constant, before any weight is moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from net2net.axes import readers
from net2net.capture import COPIES, STRETCHES, Graph, Node
from net2net.errors import GrowthError
from net2net.student._layers import groups_of
from net2net.student._sizes import NewSizes
from net2net.width import Constant

_MUL = ("aten.mul", "aten.multiply")
_DIV = ("aten.div", "aten.divide", "aten.true_divide")
_ENDS = {("aten.arange", "end"), ("aten.range", "end")}  # they say how many


class Mismatch(GrowthError):
    """The student's operations are not the teacher's at the new sizes. Says where.

    `index` counts the operations that are right, `modules` are those of all that aren't.
    """

    def __init__(self, message: str, index: int = 0, modules: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.index, self.modules = index, modules


class ChangedNumber(Mismatch):
    """A number that is computed from a size, where no weight can make up for its change."""


def compare(
    sizes: NewSizes,
    student: Graph,
    known: set[tuple[float, float]],
    buffers: Mapping[str, float] | None = None,
) -> list[Constant]:
    """Check that the student runs the teacher's operations on the shapes expected.

    Args:
        sizes: the teacher's graph with the expected sizes.
        student: the student's graph.
        known: pairs of constants (teacher's, student's) that the plan changes itself, such as a norm's eps.
        buffers: by how much a buffer that the student's constructor computes differs from the teacher's.

    Returns:
        Constants that differ because they are computed from a size; the weights can make up for them.

    Raises:
        Mismatch: an operation or a shape differs.
    """
    teacher = sizes.inference.graph
    constants = _of_buffers(teacher, buffers or {})
    ours, theirs = operations(teacher), operations(student)
    wrong = [(i, before, text) for i, (before, text) in enumerate(_wrong(sizes, ours, theirs)) if text]
    if wrong:
        modules = tuple(dict.fromkeys(before.module for _, before, _ in wrong))
        raise Mismatch(wrong[0][2], wrong[0][0], modules)
    if len(ours) != len(theirs):
        raise Mismatch(f"the student runs {len(theirs)} operations, the teacher {len(ours)}", len(ours))
    for before, after in zip(ours, theirs, strict=True):
        constants.extend(_constants(before, after, known))
    return constants


def _wrong(sizes: NewSizes, ours: list[Node], theirs: list[Node]) -> Iterator[tuple[Node, str]]:
    """Every operation of the teacher, with what is wrong about the student's; up to the first that is another."""
    for before, after in zip(ours, theirs, strict=False):
        text = ""
        if before.op != after.op or len(before.outputs) != len(after.outputs):
            yield before, f"{before.where} became {after.op}"
            return
        for old, new in zip(before.outputs, after.outputs, strict=True):
            if sizes.shape(old) != new.shape:
                text = text or f"{before.where} gives {list(new.shape)} where {list(sizes.shape(old))} is expected"
        if before.op == "aten.group_norm" and after["num_groups"] != _groups(before, sizes):
            text = text or f"{before.where} makes {after['num_groups']} groups of more channels"
        yield before, text or _other_places(before, after, sizes)


def _other_places(before: Node, after: Node, sizes: NewSizes) -> str:
    """What is wrong about where a stretch of an axis begins: it has the right length wherever that is."""
    if before.op not in STRETCHES:
        return ""
    dim = before["dim"] % len(before["self"].shape)
    begins = [min(max(start + length, 0) if start < 0 else start, length) for start, length in (
        (node.get("start") or 0, node["self"].shape[dim]) for node in (before, after)
    )]  # fmt: skip
    expected = sizes.position(sizes.inference.of(before["self"])[dim], begins[0])
    if expected is None or expected == begins[1]:
        return ""
    return f"{before.where} takes the places from {begins[1]} on where those from {expected} on are meant"


def _groups(node: Node, sizes: NewSizes) -> int:
    channels = sizes.inference.of(node["input"])[1]
    return groups_of(channels, node["num_groups"], sizes)


def operations(graph: Graph) -> list[Node]:
    """The nodes but for copies, which come and go with the layout in memory and the device."""
    return [n for n in graph.nodes if n.op not in COPIES]


def _of_buffers(teacher: Graph, buffers: Mapping[str, float]) -> list[Constant]:
    found = []
    for name, ratio in buffers.items():
        value = teacher.state.get(name)
        for node, read in readers(value) if value is not None else ():
            others = [v for v in node.inputs if v is not read]
            if node.op not in ("aten.mul", "aten.mul_") or len(others) != 1:
                raise Mismatch(f"{node.where} reads the buffer '{name}', whose values depend on a size")
            found.append(Constant(node, others[0], 1 / ratio))
    return found


def _constants(before: Node, after: Node, known: set[tuple[float, float]]) -> list[Constant]:
    if before.op == "aten.scaled_dot_product_attention":
        old, new = (n.get("scale") or n["query"].shape[-1] ** -0.5 for n in (before, after))
        return [Constant(before, before["query"], old / new)] if not _close(old, new) else []
    found = []
    for old_value, new_value in zip(before.inputs, after.inputs, strict=False):
        a, b = old_value.number, new_value.number
        if a is not None and b is not None and not _close(a, b):
            others = [v for v in before.inputs if v is not old_value]
            if _base(before.op) not in _MUL + _DIV or len(others) != 1:
                raise _changed(before, a, b)
            if _base(before.op) in _DIV and before.inputs[0] is old_value:
                raise _changed(before, a, b)
            found.append(Constant(before, others[0], a / b if _base(before.op) in _MUL else b / a))
    for name, old in before.arguments.items():
        new = after.arguments.get(name)
        a, b = _number(before, name), _number(after, name)
        if a is not None and b is not None:
            if not _close(a, b) and (a, b) not in known:
                found.append(_ratio(before, name, a, b))
        elif old is None and (new, new) in known:  # an eps that the teacher leaves to torch
            continue
        elif isinstance(old, float) != isinstance(new, float) and (isinstance(old, float) or isinstance(new, float)):
            raise Mismatch(f"{before.where} has {name}={old} in the teacher and {new} in the student")
    return found


def _number(node: Node, name: str) -> float | None:
    """An argument, if it is an operand of arithmetic rather than a size, a position or an axis.

    What makes a constant of one entry is compared where that is read.
    """
    value = node.get(name)
    if node.output.number is not None or isinstance(value, bool):
        return None
    if isinstance(value, float):
        return value
    if not isinstance(value, int) or (node.op, name) in _ENDS:
        return None
    schema = getattr(node.target, "_schema", None)
    kinds = [str(a.type) for a in schema.arguments if a.name == name] if schema is not None else []
    return value if kinds in (["number"], ["Optional[number]"], ["Tensor"], ["Optional[Tensor]"]) else None


def _ratio(node: Node, name: str, old: float, new: float) -> Constant:
    operation = _base(node.op)
    if 0.0 in (old, new):
        raise _changed(node, old, new)
    if name == "other" and operation in _MUL + _DIV and node.inputs and node.get("rounding_mode") is None:
        return Constant(node, node.inputs[0], old / new if operation in _MUL else new / old)
    if operation in ("aten.add", "aten.sub") and name == "alpha" and node["other"] is not node["self"]:
        return Constant(node, node["other"], old / new)
    if operation == "aten.baddbmm" and name in ("alpha", "beta"):
        return Constant(node, node["batch1" if name == "alpha" else "self"], old / new)
    raise _changed(node, old, new)


def _changed(node: Node, old: float, new: float) -> ChangedNumber:
    return ChangedNumber(
        f"{node.where} computes with the number {old:g}, which is made from a size and becomes {new:g}; no weight "
        "can make up for that. A number that the module keeps as an attribute stays as it is: use one there"
    )


def _base(op: str) -> str:
    return op.removesuffix("_")


def _close(a: Any, b: Any) -> bool:
    return bool(a == b or a != a or abs(a - b) <= 1e-12 * max(abs(a), abs(b)))
