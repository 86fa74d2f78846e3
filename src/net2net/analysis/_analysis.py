"""What was found in a network: its dimensions, and where it can be deeper."""

from __future__ import annotations

import copy
import fnmatch
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from net2net.analysis._dimensions import Dimension
from net2net.analysis._further import further_dimensions
from net2net.analysis._modules import Modules
from net2net.analysis._tables import dimension_table, place_table
from net2net.axes import Atom, Term
from net2net.capture import Example, shown
from net2net.depth import DepthPlace, find_places
from net2net.sites import Sites


@dataclass(eq=False)
class Analysis:
    """The dimensions of a network, by name. Printing it gives the table.

    `examples` is what was captured; `notes` says what couldn't be.
    """

    dimensions: dict[str, Dimension]
    sites: Sites = field(repr=False)
    atoms: dict[str, Atom] = field(repr=False)
    examples: tuple[Example, ...] = field(repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def experts(self) -> dict[str, Dimension]:
        """The experts of each mixture, which are a dimension of its own kind: the network is run to find them."""
        return further_dimensions(self.sites.model, self.examples)

    @cached_property
    def places(self) -> dict[str, DepthPlace]:
        """Where the network can be made deeper, by the names that `deepen` takes: in the first example."""
        inference = copy.copy(self.sites.inference)
        inference.graph = inference.graph.first or inference.graph
        return find_places(inference, self.sites.model)

    def growable(self) -> list[Dimension]:
        """The dimensions that can grow."""
        return [d for d in self.dimensions.values() if d.growth != "fixed"]

    def matching(self, pattern: str) -> list[str]:
        """Names of the dimensions that a name or a glob means."""
        if pattern in self.dimensions:
            return [pattern]
        return fnmatch.filter(self.dimensions, pattern)

    @cached_property
    def modules(self) -> Modules:
        """The modules of the network and what they give back."""
        return Modules(self.sites.inference, self.sites.model)

    def module_paths(self) -> list[str]:
        """Paths of the modules that run in the forward, and of those that contain them, under all their names."""
        return list(dict.fromkeys(shown(path) for path in self.modules.known))

    def widths_of(self, path: str) -> list[Term]:
        """The axes with dimensions of what a module gives back: one, unless it gives back several things."""
        free = {self.atoms[d.name] for d in self.growable()}
        return self.modules.widths(path, set(self.atoms.values()), free)

    def summary(self) -> dict[str, Any]:
        """The dimensions: sizes, what each tolerates and why, every place it runs through. And the places to deepen."""
        dimensions = [
            {
                "name": d.name,
                "size": d.size,
                "growth": d.growth,
                "reason": d.reason,
                "primary": d.primary,
                "places": [{"tensor": p.tensor, "axis": p.axis, "role": p.role} for p in d.places],
            }
            for d in (*self.dimensions.values(), *self.experts.values())
        ]
        return {"dimensions": dimensions, "places": [asdict(place) for place in self.places.values()]}

    def __str__(self) -> str:
        text = dimension_table([*self.dimensions.values(), *self.experts.values()])
        return f"{text}\n\n{place_table(self.places.values())}" if self.places else text
