"""Copies with the roots of the shares: for a dimension over which products of two factors of one weight are summed.

In a factorisation machine, or where a tied weight leads in and out, no weight can take the shares. If every weight
takes their roots, each product of two takes the shares, and so does each square under the root of an L2 norm.
"""

from __future__ import annotations

from net2net.axes import Atom, Flow, Inference, Reduction, atoms, flow_of
from net2net.capture import Node, Value
from net2net.sites._trace import NotPossible, axes_with, carries, factors_of, is_homogeneous, passed_by, shifts_of


def rooted(inference: Inference, atom: Atom) -> set[tuple[str, int]]:
    """The places that take the roots of the shares: all parameters of the dimension.

    Raises:
        NotPossible: some sum over the copies is then not the sum over the units.
    """
    places: set[tuple[str, int]] = set()
    powers: dict[Value, float] = {}
    for value in inference.graph.state.values():
        axes = axes_with(inference, value, atom)
        if axes:
            if value.kind != "parameter" or len(axes) > 1:
                raise NotPossible(f"'{value.name}' can't take roots of shares")
            places.add((value.name, axes[0]))
            powers[value] = 0.5
    over = [r for r in inference.reductions if any(a is atom for a in atoms(r.term))]
    if any(atom in atoms(n.term) for n in inference.normalisations):
        raise NotPossible("it is normalised over")
    for node in inference.graph.nodes:
        _follow(inference, atom, node, powers, [r for r in over if r.node is node])
    return places


def _follow(inference: Inference, atom: Atom, node: Node, powers: dict[Value, float], reduced: list[Reduction]) -> None:
    if not any(v in powers for v in node.inputs):
        if any(carries(inference, v, atom) for v in node.outputs):
            raise NotPossible(f"{node.where} makes the units of no weight")
        return
    for reduction in reduced:
        squares = reduction.kind == "norm" and node.get("p", node.get("ord", 2)) == 2
        if (reduction.kind, powers.get(reduction.value)) != ("sum", 1.0) and not (
            squares and powers.get(reduction.value) == 0.5
        ):
            raise NotPossible(f"{node.where} doesn't sum products of two weights")
    for site in inference.contractions_at(node):
        if any(a is atom for a in atoms(site.term)):
            operands = [site.weight[0], *([site.other[0]] if site.other is not None else [])]
            if len(operands) != 2 or sum(powers.get(v, 0.0) for v in operands) != 1.0:
                raise NotPossible(f"{node.where} doesn't sum products of two weights")
    carried = [v for v in node.outputs if carries(inference, v, atom)]
    for value in carried:
        powers[value] = _power(node, powers)


def _power(node: Node, powers: dict[Value, float]) -> float:
    """Of the shares, in what a node gives."""
    flow = flow_of(node)
    mine = [powers.get(v, 0.0) for v in node.inputs]
    if flow is Flow.PRODUCT:
        return mine[0] - sum(mine[1:]) if "div" in node.op else sum(mine)
    if node.op in ("aten.square", "aten.square_"):
        return 2 * mine[0]
    if node.op.startswith("aten.pow") and isinstance(node.get("exponent"), (int, float)):
        return mine[0] * float(node["exponent"])
    if is_homogeneous(node):
        return mine[0]
    if flow is Flow.CONTRACT:
        power = sum(powers.get(v, 0.0) for v in factors_of(node))
        found = {power, *(powers.get(v, 0.0) for v in shifts_of(node))}
    elif flow is Flow.PASS:
        found = {powers.get(v, 0.0) for v in passed_by(node)}
    elif flow is Flow.SUM and len(node.inputs) > 1:
        found = set(mine)
    else:
        found = set()
    if len(found) != 1:
        raise NotPossible(f"{node.where} doesn't let the roots of shares pass")
    return found.pop()
