"""The graphs of several examples as one."""

from __future__ import annotations

from collections.abc import Sequence

from net2net.capture._examples import Example
from net2net.capture._graph import Graph, Value


def merged(examples: Sequence[Example], graphs: Sequence[Graph]) -> Graph:
    """One graph that runs all of them in turn, on the state that they share. Inputs and outputs of others than the
    first have the example's name before their own."""
    if len(graphs) == 1:
        return graphs[0]
    outputs: dict[str, Value] = {}
    for example, graph in zip(examples, graphs, strict=True):
        name = f"{example.name}{' train' * example.train}".strip()
        prefix = f"{name}." if name else ""
        for value in graph.inputs:
            value.name = prefix + value.name
        outputs.update({prefix + name: value for name, value in graph.outputs.items()})
    first = graphs[0]
    return Graph(
        [node for graph in graphs for node in graph.nodes],
        first.state,
        [value for graph in graphs for value in graph.inputs],
        outputs,
        first.ties,
        any(graph.casts_to_float32 for graph in graphs),
        {value for graph in graphs for value in graph.mutated},
        first,
    )
