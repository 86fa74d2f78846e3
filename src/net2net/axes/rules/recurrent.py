"""Recurrent layers. The rows of their weights are gate blocks: (gates, hidden)."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.axes._terms import LockKind, Term, concat, lock, unflatten, unify
from net2net.capture import Node, Value

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _rows(inference: Inference, node: Node, value: Value, gates: int, hidden: Term | None) -> Term:
    """The hidden axis in the rows of a weight or bias, made one with `hidden`."""
    rows = inference.of(value)[0]
    if gates > 1:
        block, found = unflatten(rows, [gates, value.shape[0] // gates], node.where)
        lock(block, f"its places are gates ({node.where})", LockKind.PARTS)
    else:
        found = rows
    if hidden is not None:
        unify(hidden, found, node.where)
    return found


@rule("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu", flow=Flow.OPAQUE)
def layers(inference: Inference, node: Node) -> list[Axes]:
    """Layers and directions have one hidden size; each layer reads the one below."""
    gates = _GATES[node.op.removeprefix("aten.")]
    x, weights = node["input"], list(node["params"])
    states = node["hx"] if isinstance(node["hx"], tuple) else (node["hx"],)
    directions = 2 if node["bidirectional"] else 1
    cells = node["num_layers"] * directions
    per_cell = len(weights) // cells
    projected = per_cell in (3, 5)
    hidden: Term | None = None
    out: Term | None = None
    carried: tuple[Value, int] | None = (x, len(x.shape) - 1)
    below: Term = inference.of(x)[-1]
    for cell in range(cells):
        mine = weights[cell * per_cell : (cell + 1) * per_cell]
        w_in, w_hidden, biases = mine[0], mine[1], mine[2:4] if node["has_biases"] else []
        hidden = _rows(inference, node, w_in, gates, hidden)
        for value in (w_hidden, *biases):
            _rows(inference, node, value, gates, hidden)
        result = inference.of(mine[-1])[0] if projected else hidden
        if projected:
            inference.sums(node, hidden, (mine[-1], 1))
        out = result if out is None else out
        unify(out, result, node.where)
        inference.sums(node, below, (w_in, 1), carried)
        inference.sums(node, out, (w_hidden, 1))
        if (cell + 1) % directions == 0:
            below, carried = concat([out] * directions), None
    assert hidden is not None and out is not None
    (stacked,) = inference.fixed(node, [cells], "its places are layers and directions")
    time_and_batch = inference.of(x)[:-1]
    batch = time_and_batch[0 if node["batch_first"] else 1 :][:1] if len(x.shape) == 3 else ()
    finals: list[Axes] = [(stacked, *batch, out), (stacked, *batch, hidden)][: len(states)]
    for state, axes in zip(states, finals, strict=True):
        inference.broadcast(node, [inference.of(state), axes])
    return [(*time_and_batch, below), *finals]


@rule("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell", flow=Flow.OPAQUE)
def cell(inference: Inference, node: Node) -> list[Axes]:
    """One step of a recurrent layer."""
    gates = _GATES[node.op.removeprefix("aten.").removesuffix("_cell")]
    x, states = node["input"], node["hx"] if isinstance(node["hx"], tuple) else (node["hx"],)
    hidden: Term | None = None
    for name in ("w_ih", "w_hh", "b_ih", "b_hh"):
        if node.get(name) is not None:
            hidden = _rows(inference, node, node[name], gates, hidden)
    assert hidden is not None
    inference.contract(node, (x, len(x.shape) - 1), (node["w_ih"], 1))
    inference.sums(node, hidden, (node["w_hh"], 1))
    batch = inference.of(x)[:-1]
    for state in states:
        inference.broadcast(node, [inference.of(state), (*batch, hidden)])
    return [(*batch, hidden)] * len(node.outputs)
