"""How every axis of the network changes its size in a growth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from net2net.axes import Atom, Product, Term, atoms, resolve, size
from net2net.capture import Node, Value
from net2net.sites import Sites


class NewSizes:
    """The student's size of every axis of the teacher's graph."""

    def __init__(self, sites: Sites, sizes: dict[Atom, int]) -> None:
        self.inference = sites.inference
        self.sizes = sizes
        self.dimensions = {
            a for v in self.inference.graph.state.values() for t in self.inference.of(v) for a in atoms(t) if a.size > 1
        }

    def of(self, term: Term) -> int:
        """The student's size of an axis."""
        term = resolve(term)
        if isinstance(term, Atom):
            return self.sizes.get(term, term.size)
        if isinstance(term, Product):
            result = 1
            for factor in term.factors:
                result *= self.of(factor)
            return result
        return sum(map(self.of, term.parts))

    def shape(self, value: Value) -> tuple[int, ...]:
        """The student's shape of a value."""
        return tuple(map(self.of, self.inference.of(value)))

    def position(self, term: Term, place: int) -> int | None:
        """Where the student has the place of an axis that the teacher has at `place`; None inside of what grows."""
        term = resolve(term)
        if place in (0, size(term)):
            return self.of(term) if place else 0
        if isinstance(term, Atom):
            return place if self.of(term) == size(term) else None
        if isinstance(term, Product):
            outer, rest = divmod(place, size(term) // size(term.factors[0]))
            found = None if rest else self.position(term.factors[0], outer)
            return None if found is None else found * self.of(Product(term.factors[1:]))
        before = 0
        for part in term.parts:
            if place <= size(part):
                break
            place, before = place - size(part), before + self.of(part)
        found = self.position(part, place)
        return None if found is None else before + found

    def changes_by_module(self) -> dict[str, dict[int, set[int]]]:
        """For each module, what each size seen in its own operations becomes: {module: {size: {new sizes}}}."""
        found: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        done: set[tuple[str, Term]] = set()
        for node in self.inference.graph.nodes:
            for term in self._terms(node):
                if (node.module, term) in done:
                    continue
                done.add((node.module, term))
                for before, after in self._sizes_in(term):
                    found[node.module][before].add(after)
        return found

    def changes_in_state(self) -> dict[str, dict[int, set[int]]]:
        """For each module and all that contain it, what the sizes of its tensors' axes become."""
        found: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        for name, value in self.inference.graph.state.items():
            owner = name.rpartition(".")[0]
            while True:
                for term in self.inference.of(value):
                    found[owner][size(term)].add(self.of(term))
                if not owner:
                    break
                owner = owner.rpartition(".")[0]
        return found

    def _terms(self, node: Node) -> Iterator[Term]:
        for value in (*node.outputs, *node.inputs):
            for term in self.inference.of(value):
                if any(a in self.dimensions for a in atoms(term)):
                    yield term

    def _sizes_in(self, term: Term) -> Iterator[tuple[int, int]]:
        """Sizes of the axis, and of every run of its factors or parts."""
        term = resolve(term)
        yield size(term), self.of(term)
        if isinstance(term, Atom):
            return
        children = term.factors if isinstance(term, Product) else term.parts
        for start in range(len(children)):
            for end in range(start + 1, len(children) + 1):
                run = type(term)(children[start:end])
                yield size(run), self.of(run)
        for child in children:
            if not isinstance(child, Atom):
                yield from self._sizes_in(child)
