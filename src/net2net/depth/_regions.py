"""Which operations are a module's, what it reads, and who reads what blocks give."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

from net2net.axes import Inference, base_name
from net2net.capture import CASTS, COPIES, MOVES, Value
from net2net.depth._block import Block

_PASSED_ON = {*CASTS, *COPIES, *MOVES}


class Regions:
    """The operations of every module, with those of the modules inside it, as positions in the graph."""

    def __init__(self, inference: Inference) -> None:
        self.nodes = inference.graph.nodes
        self.position = {node: i for i, node in enumerate(self.nodes)}
        self.of: dict[str, list[int]] = defaultdict(list)
        for i, node in enumerate(self.nodes):
            parts = node.module.split(".") if node.module else []
            for end in range(len(parts) + 1):
                self.of[".".join(parts[:end])].append(i)

    def called_once(self, path: str) -> bool:
        """Whether no operation of a module runs twice on the same weights: one module may stand for several layers."""
        seen = Counter((n.op, v) for n in (self.nodes[i] for i in self.of[path]) for v in n.inputs if v.is_state)
        return all(
            count == 1 for (op, _), count in seen.items() if op in ("aten.linear", "aten.addmm", "aten.layer_norm")
        )

    def made(self, path: str) -> set[Value]:
        """Values that a module makes: not what it only casts or reshapes for all others, such as rotary angles."""
        found: set[Value] = set()
        for i in self.of[path]:
            node = self.nodes[i]
            if base_name(node.op) not in _PASSED_ON or any(v in found for v in node.inputs):
                found.update(node.outputs)
        return found

    def inputs(self, path: str) -> list[Value]:
        """Values that a module reads and doesn't make, weights aside, in the order of reading."""
        inside = set(self.of[path])
        found: dict[Value, None] = {}
        for i in self.of[path]:
            for value in self.nodes[i].inputs:
                made = value.producer is not None and self.position[value.producer] in inside
                if not made and (value.kind == "input" or value.producer is not None):
                    found.setdefault(value)
        return list(found)


def taps_of(regions: Regions, blocks: Sequence[Block], results: set[Value]) -> dict[int, str]:
    """The blocks whose result is read by others than the next block and what adds that to the stream."""
    found: dict[int, str] = {}
    for index, (block, after) in enumerate(pairwise(blocks)):
        stream, producer = block.stream_out, after.stream_out.producer
        reached = {producer}
        for i in range(regions.position[producer] if producer else 0, -1, -1):
            node = regions.nodes[i]
            if node in reached:
                reached.update(v.producer for v in node.inputs if v is not stream)
            if stream.producer is node:
                break
        others = [node for node in stream.consumers if node not in reached and not after.holds(node.module)]
        if others or stream in results:
            found[index] = others[0].where if others else "the model's output"
    return found
