"""Hugging Face models: finds the config of the student, so that its class can construct it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from torch import nn

from net2net.errors import CouplingError
from net2net.pretrained import Shapes, Tried, WidthSearch, eps_changes
from net2net.student._sizes import NewSizes


def donors_of(
    model: nn.Module,
    path: str,
    planned: Shapes,
    sizes: NewSizes,
    attributes: Mapping[str, Mapping[str, float]],
    tried: Tried,
) -> Iterator[nn.Module]:
    """Models of the same class at the student's sizes, without weights, each constructed from a config.

    The config is found by search: every number in it that equals a size that changes is a candidate. Those that
    change the shapes of tensors are settled by the shapes of the plan; of the others (a number of heads) as few as
    possible are changed, and the caller finds out which donor computes what it should: those with buffers of other
    shapes (the frequencies of another size of heads) come last. Parameters of a donor are on the meta device; its
    buffers have their values.

    Raises:
        CouplingError: no config gives these shapes; the class computes one size from another.
    """
    ties, prefix = sizes.inference.graph.ties, f"{path}." if path else ""
    inside = {p[len(prefix) :]: names for p, names in attributes.items() if p.startswith(prefix)}
    eps = eps_changes(model, inside)
    wanted: Shapes = {}
    for name, tensor in model.state_dict().items():
        first = ties.get(prefix + name, prefix + name)
        if first not in unread_tensors(sizes):
            wanted[name] = tuple(planned.get(first, tensor.shape))
    changed: dict[int, set[int]] = {}
    for own in (*sizes.changes_by_module().values(), *sizes.changes_in_state().values()):
        for before, after in own.items():
            changed.setdefault(before, set()).update(after)
    search = WidthSearch(model, wanted, changed, tried)
    needed = search.solve()
    if needed is None:
        raise CouplingError(
            f"{type(model).__name__} can't be constructed at these sizes ({search.reason}). Its class computes one "
            "size from another, or fixes it: grow the dimensions that it ties together by the same factor."
        )
    free = [(key, new) for key, options in search.candidates for new in options if key not in needed]
    free = [(key, new) for key, new in free if isinstance(new, int) and search.same_tensors({**needed, key: new})]
    buffers = {
        name: tuple(planned.get(first, buffer.shape))
        for name, buffer in model.named_buffers()
        if (first := ties.get(prefix + name, prefix + name)) not in unread_tensors(sizes)
    }
    unlikely: list[nn.Module] = []
    for count in range(4):
        for some in itertools.islice(itertools.combinations(free, count), 40):
            changes = {**needed, **dict(some)}
            if len(changes) == len(needed) + count and search.misses(changes) == 0:
                donor = search.constructed({**changes, **eps})
                assert donor is not None
                shapes = {name: tuple(buffer.shape) for name, buffer in donor.named_buffers()}
                if all(shapes.get(name, shape) == shape for name, shape in buffers.items()):
                    yield donor
                else:
                    unlikely.append(donor)
    yield from unlikely


def unread_tensors(sizes: NewSizes) -> set[str]:
    """Tensors that no operation reads (a mask token outside pre-training): any size will do for them."""
    return {name for name, value in sizes.inference.graph.state.items() if not value.consumers}
