"""Hugging Face models: finds the config of the student, so that its class can construct it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from net2net.errors import CouplingError
from net2net.pretrained import Changes, Key, construct, numbers
from net2net.student._sizes import NewSizes

_MAX_TRIES = 120


Shapes = dict[str, tuple[int, ...]]


class EpsError(CouplingError):
    """A config can't carry the eps that silent new units on a normalised stream need."""


class Tried:
    """The shapes of the tensors of models constructed with numbers of their config changed, each found out once."""

    def __init__(self) -> None:
        self._found: dict[tuple[nn.Module, frozenset[tuple[Key, Any]]], Shapes | None] = {}

    def shapes(self, model: nn.Module, changes: Changes) -> Shapes | None:
        """By name; None if the class refuses."""
        key = model, frozenset(changes.items())
        if key not in self._found:
            donor = construct(model, changes)
            state = None if donor is None else donor.state_dict()
            self._found[key] = None if state is None else {name: tuple(t.shape) for name, t in state.items()}
        return self._found[key]


def donors_of(
    model: nn.Module,
    path: str,
    shapes: Shapes,
    sizes: NewSizes,
    attributes: Mapping[str, Mapping[str, float]],
    tried: Tried,
) -> Iterator[nn.Module]:
    """Models of the same class at the student's sizes, without weights, each constructed from a config.

    The config is found by search: every number in it that equals a size that changes is a candidate. Those that
    change the shapes of tensors are settled by the shapes of the plan; of the others (a number of heads) as few as
    possible are changed, and the caller finds out which donor computes what it should. Parameters of a donor are
    on the meta device; its buffers have their values.

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
            wanted[name] = tuple(shapes.get(first, tensor.shape))
    search = _Search(model, wanted, _candidates(model.config, sizes), tried)
    needed = search.solve()
    if needed is None:
        raise CouplingError(
            f"{type(model).__name__} can't be constructed at these sizes ({search.reason}). Its class computes one "
            "size from another, or fixes it: grow the dimensions that it ties together by the same factor."
        )
    free = [(key, new) for key, options in search.candidates for new in options if key not in needed]
    free = [(key, new) for key, new in free if isinstance(new, int) and search.same_tensors({**needed, key: new})]
    for count in range(4):
        for some in itertools.islice(itertools.combinations(free, count), 40):
            changes = {**needed, **dict(some)}
            if len(changes) == len(needed) + count and search.misses(changes) == 0:
                donor = construct(model, {**changes, **eps})
                assert donor is not None
                yield donor


def eps_changes(model: nn.Module, attributes: Mapping[str, Mapping[str, float]]) -> Changes:
    """The numbers of a config that give the norms the eps that a plan sets: {module path: {attribute: eps}}.

    Raises:
        EpsError: the config has no such number, or gives it to norms that keep theirs too.
    """
    if not attributes:
        return {}
    new_of = {getattr(model.get_submodule(p), n): new for p, names in attributes.items() for n, new in names.items()}
    keys = [
        (key, new_of[number]) for key, number in numbers(model.config) if isinstance(number, float) and number in new_of
    ]
    for some in [keys, *([one] for one in keys)]:
        donor = construct(model, dict(some))
        if some and donor is not None and _has_eps(donor, model, attributes):
            return dict(some)
    raise EpsError(
        f"the config of {type(model).__name__} can't give the norms that grow an eps of their own, so new silent units "
        "would not survive saving and loading. Copies keep every eps: use how='split' and a whole multiple."
    )


def _has_eps(donor: nn.Module, model: nn.Module, attributes: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether every number in the donor's modules is the teacher's, but for those that should change."""
    theirs = dict(donor.named_modules())
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, float) and path in theirs:
                wanted = attributes.get(path, {}).get(name, value)
                if abs(getattr(theirs[path], name, wanted) - wanted) > 1e-12 * abs(wanted):
                    return False
    return True


def unread_tensors(sizes: NewSizes) -> set[str]:
    """Tensors that no operation reads (a mask token outside pre-training): any size will do for them."""
    return {name for name, value in sizes.inference.graph.state.items() if not value.consumers}


class _Search:
    """Looks for the numbers of a config that give the wanted shapes, by constructing the model without weights."""

    def __init__(
        self, model: nn.Module, wanted: Shapes, candidates: list[tuple[Key, list[int | float]]], tried: Tried
    ) -> None:
        self.model, self.wanted, self.candidates, self.tried = model, wanted, candidates, tried
        self.names = model.state_dict().keys()
        self.reason = "no number of its config equals a size that changes"

    def misses(self, changes: Changes) -> int | None:
        """How many tensors would have another shape than wanted; None if there is no such model."""
        found = self.tried.shapes(self.model, changes)
        if found is None or found.keys() != self.names:
            return None
        wrong = [name for name, shape in self.wanted.items() if found[name] != shape]
        if wrong:
            self.reason = f"'{wrong[0]}' would be {list(found[wrong[0]])}, not {list(self.wanted[wrong[0]])}"
        return len(wrong)

    def same_tensors(self, changes: Changes) -> bool:
        """Whether the model has tensors of the same names with these changes, or refuses them by themselves."""
        found = self.tried.shapes(self.model, changes)
        return found is None or found.keys() == self.names

    def solve(self) -> Changes | None:
        """The fewest changes that give the wanted shapes: changes are made, then undone, while that helps."""
        everything: Changes = {key: options[0] for key, options in self.candidates if isinstance(options[0], int)}
        for start in ({}, everything):
            changes, left = self._descend(dict(start))
            if left == 0:
                for key in list(changes):
                    fewer = {k: v for k, v in changes.items() if k != key}
                    if self.misses(fewer) == 0:
                        changes = fewer
                return changes
        return None

    def _descend(self, changes: Changes) -> tuple[Changes, int | None]:
        best = self.misses(changes)
        improved, tries = True, 0
        while improved and best != 0 and tries < _MAX_TRIES:
            improved = False
            for key, options in self.candidates:
                for new in (*options, None):
                    tries += 1
                    trial = {k: v for k, v in changes.items() if k != key} | ({} if new is None else {key: new})
                    if trial == changes:
                        continue
                    misses = self.misses(trial)
                    if misses is not None and (best is None or misses < best):
                        changes, best, improved = trial, misses, True
        return changes, best


def _candidates(config: Any, sizes: NewSizes) -> list[tuple[Key, list[int | float]]]:
    """Numbers of a config that equal a size that changes, with what they may become, and multipliers of sizes."""
    changes: dict[int, set[int]] = {}
    for own in (*sizes.changes_by_module().values(), *sizes.changes_in_state().values()):
        for before, after in own.items():
            changes.setdefault(before, set()).update(after)
    ratios = {new / old for old, news in changes.items() for new in news if new != old}
    found: list[tuple[Key, list[int | float]]] = []
    for key, number in numbers(config):
        if isinstance(number, int):
            options: list[int | float] = sorted(changes.get(number, set()) - {number})
        else:
            multiplies = any(word in str(key[-1]) for word in ("multiplier", "coefficient", "ratio", "expansion"))
            options = sorted(number * r for r in ratios) if multiplies and len(ratios) == 1 else []
        if options:
            found.append((key, options))
    return found
