"""Which numbers of a config give the sizes of the student, and a norm's eps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from net2net.errors import CouplingError
from net2net.pretrained._config import Changes, Key, numbers, shapes
from net2net.pretrained._search import Search

_MAX_TRIES = 120
_MULTIPLIES = ("multiplier", "coefficient", "ratio", "expansion")  # words of numbers that sizes are multiplied by
Shapes = dict[str, tuple[int, ...]]
# What models had, each constructed once: the shapes of its tensors, or why the class refuses the changes.
Tried = dict[tuple[nn.Module, frozenset[tuple[Key, Any]]], Shapes | str]


class WidthSearch(Search):
    """Looks for the numbers of a config that give the wanted shapes, by constructing the model without weights."""

    def __init__(self, model: nn.Module, wanted: Shapes, sizes: Mapping[int, set[int]], tried: Tried) -> None:
        super().__init__(model, "no number of its config equals a size that changes")
        self.model, self.wanted, self.candidates = model, wanted, _candidates(model.config, sizes)
        self.tried = tried
        self.names = model.state_dict().keys()

    def _shapes(self, changes: Changes) -> Shapes | None:
        """Of the tensors of a model with these changes; None if the class refuses them."""
        key = self.model, frozenset(changes.items())
        if key not in self.tried:
            donor = self.constructed(changes)
            self.tried[key] = str(self.refusal) if donor is None else shapes(donor)
        found = self.tried[key]
        if isinstance(found, str):
            self.refusal = self.refusal or found
            return None
        return found

    def misses(self, changes: Changes) -> int | None:
        """How many tensors would have another shape than wanted; None if there is no such model."""
        found = self._shapes(changes)
        if found is None or found.keys() != self.names:
            return None
        wrong = [name for name, shape in self.wanted.items() if found[name] != shape]
        if wrong:
            self.misfit = f"'{wrong[0]}' would be {list(found[wrong[0]])}, not {list(self.wanted[wrong[0]])}"
        return len(wrong)

    def same_tensors(self, changes: Changes) -> bool:
        """Whether the model has tensors of the same names with these changes, or refuses them by themselves."""
        found = self._shapes(changes)
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


def _candidates(config: Any, sizes: Mapping[int, set[int]]) -> list[tuple[Key, list[int | float]]]:
    """Numbers of a config that equal a size that changes, with what they may become, and multipliers of sizes."""
    ratios = {new / old for old, news in sizes.items() for new in news if new != old}
    found: list[tuple[Key, list[int | float]]] = []
    for key, number in numbers(config):
        if isinstance(number, int):
            options: list[int | float] = sorted(sizes.get(number, set()) - {number})
        else:
            multiplies = any(word in str(key[-1]) for word in _MULTIPLIES)
            options = sorted(number * r for r in ratios) if multiplies and len(ratios) == 1 else []
        if options:
            found.append((key, options))
    return found


class EpsError(CouplingError):
    """A config can't carry the eps that silent new units on a normalised stream need."""


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
    search = Search(model)
    for some in [keys, *([one] for one in keys)]:
        donor = search.constructed(dict(some))
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
