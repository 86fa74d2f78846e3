"""What each module gives back, and the names that it goes by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection

from torch import nn

from net2net.axes import Atom, Inference, Term, atoms, resolve
from net2net.capture import Node, Value, shown

_RECURRENT = ("aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu")


class Modules:
    """The modules of a network, by path: those that run, and what others read of them."""

    def __init__(self, inference: Inference, model: nn.Module) -> None:
        self.inference = inference
        self.given = _given(inference)
        self.every = {path: module for path, module in model.named_modules(remove_duplicate=False) if path}
        running = {id(module): path for path, module in self.every.items() if path in self.given}
        # Under a second name a module runs too; the graph knows it by one.
        self.known = {path: running[id(module)] for path, module in self.every.items() if id(module) in running}
        self.known.update({path: path for path in self.given})
        for path in list(self.every):  # and by what it is called without a wrapper around it
            self.every.setdefault(shown(path) or path, self.every[path])
            if path in self.known:
                self.known.setdefault(shown(path) or path, self.known[path])

    def outputs(self, path: str) -> list[Value]:
        """The values that a module makes and others read, in the order of making."""
        return self.given[self.known[path]]

    def widths(self, path: str, reach: Collection[Atom], free: Collection[Atom]) -> list[Term]:
        """The axes of a module's output that dimensions run through, each once: of several, those that it makes.

        Args:
            path: of a module that runs.
            reach: the atoms that are dimensions.
            free: those of them that can grow. Beside its width an output may have positions, which a table of the
                model has too: they can't.
        """
        found: dict[Term, None] = {}
        for value in self.outputs(path):
            axes = [t for t in self.inference.of(value) if any(a in reach for a in atoms(t))]
            found.update(dict.fromkeys(map(resolve, [t for t in axes if any(a in free for a in atoms(t))] or axes)))
        if len(found) > 1:
            taken = {atom for value in self._inputs(path) for term in self.inference.of(value) for atom in atoms(term)}
            made = [term for term in found if not taken.issuperset(atoms(term))]
            return made or list(found)
        return list(found)

    def _inputs(self, path: str) -> set[Value]:
        """What a module reads and doesn't make, weights aside."""
        path = self.known[path]
        inside = [n for n in self.inference.graph.nodes if n.module == path or n.module.startswith(path + ".")]
        made = {value for node in inside for value in node.outputs}
        return {v for node in inside for v in node.inputs if v not in made and v.kind in ("input", "computed")}


def _given(inference: Inference) -> dict[str, list[Value]]:
    """For each module that runs, the values that it makes and others read; of a recurrent layer the first such."""
    graph = inference.graph
    results = set(graph.outputs.values())
    given: dict[str, list[Value]] = defaultdict(list)
    last: dict[str, Node] = {}
    for node in graph.nodes:
        readers = [{n.module for n in value.consumers} for value in node.outputs]
        for path in _holding(node.module):
            last[path] = node
            read = [
                value
                for value, paths in zip(node.outputs, readers, strict=True)
                if value in results or any(p != path and not p.startswith(path + ".") for p in paths)
            ]
            given[path] += read[:1] if node.op in _RECURRENT else read
    return {path: given[path] or [node.output] for path, node in last.items()}


def _holding(path: str) -> list[str]:
    """The module and those that it is in."""
    parts = path.split(".") if path else []
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
