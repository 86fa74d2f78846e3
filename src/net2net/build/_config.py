"""Hugging Face models: finds the config of the student, so that its class can construct it."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from net2net.build._sizes import NewSizes
from net2net.errors import CouplingError


_MAX_TRIES = 64
Key = tuple[Any, ...]  # where a number stands in a config: attribute names and list positions
Shapes = dict[str, tuple[int, ...]]


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a transformers model with a config."""
    config = getattr(module, "config", None)
    return config is not None and hasattr(config, "to_dict") and hasattr(module, "_init_weights")


def donors_of(model: nn.Module, path: str, shapes: Shapes, sizes: NewSizes) -> Iterator[nn.Module]:
    """Models of the same class at the student's sizes, on the meta device, each constructed from a config.

    The config is found by search: every number in it that equals a size that changes is a candidate. Those that
    change the shapes of tensors are settled by the shapes of the plan; of the others (a number of heads) as few as
    possible are changed, and the caller finds out which donor computes what it should.

    Raises:
        CouplingError: no config gives these shapes; the class computes one size from another.
    """
    ties, prefix = sizes.inference.graph.ties, f"{path}." if path else ""
    wanted: Shapes = {}
    for name, tensor in model.state_dict().items():
        first = ties.get(prefix + name, prefix + name)
        wanted[name] = tuple(shapes.get(first, tensor.shape))
    search = _Search(model, wanted)
    active, inert = search.sorted_out(_candidates(model.config, sizes))
    found = False
    for some in _few_changes(inert):
        donor = search.fitting(active, some)
        if donor is not None:
            found = True
            yield donor
    if not found:
        names = ", ".join(sorted({str(key[-1]) for key, _ in (*active, *inert)}))
        raise CouplingError(
            f"{type(model).__name__} can't be constructed at these sizes ({search.reason}). Its class ties sizes to "
            f"each other: grow the dimensions behind {names or 'its config'} by the same factor."
        )


class _Search:
    """Tries configs by constructing the model on the meta device."""

    def __init__(self, model: nn.Module, wanted: Shapes) -> None:
        self.model, self.wanted = model, wanted
        self.before: Shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
        self.reason = "no number of its config equals a size that changes"
        self.likely: tuple[int, ...] | None = None

    def sorted_out(self, candidates: list[tuple[Key, list[int]]]) -> tuple[list[tuple[Key, list[int]]], list[tuple[Key, int]]]:
        """Candidates that change shapes as wanted (with their options), and those that change no shape."""
        active: list[tuple[Key, list[int]]] = []
        inert: list[tuple[Key, int]] = []
        for key, options in candidates:
            kept = []
            for new in options[:-1]:
                shapes = self._shapes({key: new})
                if shapes == self.before:
                    inert.append((key, new))
                elif shapes is None or self._leads_there(shapes):
                    kept.append(new)
            if kept:
                active.append((key, [*kept, options[-1]]))
        return active, inert

    def _leads_there(self, shapes: Shapes) -> bool:
        """Whether no axis moves away from where it should go."""
        if shapes.keys() != self.before.keys():
            return False
        for name, after in shapes.items():
            for old, new, goal in zip(self.before[name], after, self.wanted[name], strict=True):
                if new != old and (goal - old) * (new - old) <= 0:
                    return False
        return True

    def _shapes(self, changes: dict[Key, int]) -> Shapes | None:
        donor = self._donor(changes)
        return None if donor is None else {name: tuple(t.shape) for name, t in donor.state_dict().items()}

    def _donor(self, changes: dict[Key, int]) -> nn.Module | None:
        config = copy.deepcopy(self.model.config)
        try:
            for key, new in changes.items():
                _set(config, key, new)
            return _construct(self.model, config)
        except Exception as error:
            self.reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            return None

    def fitting(self, active: list[tuple[Key, list[int]]], inert: dict[Key, int]) -> nn.Module | None:
        """The first model that has the wanted shapes, with these changes of numbers that change no shape."""
        picks = list(itertools.islice(_by_likelihood(active), _MAX_TRIES))
        if self.likely in picks:
            picks.insert(0, self.likely)
        for pick in picks:
            chosen = {key: new for (key, _), new in zip(active, pick, strict=True)}
            donor = self._donor({**chosen, **inert})
            if donor is None:
                continue
            found = {name: tuple(t.shape) for name, t in donor.state_dict().items()}
            wrong = [name for name in self.wanted if found.get(name) != self.wanted[name]]
            if not wrong:
                self.likely = pick
                return donor
            self.reason = f"'{wrong[0]}' would be {found.get(wrong[0])}, not {self.wanted[wrong[0]]}"
        return None


def _few_changes(inert: list[tuple[Key, int]]) -> Iterator[dict[Key, int]]:
    """Choices of the numbers that change no shape, the fewest changes first."""
    for count in range(min(len(inert), 3) + 1):
        for some in itertools.islice(itertools.combinations(inert, count), 24):
            if len({key for key, _ in some}) == count:
                yield dict(some)


def _construct(model: nn.Module, config: Any) -> nn.Module:
    kept = getattr(model.config, "_attn_implementation", None)
    if kept is not None:
        config._attn_implementation = kept
    with torch.device("meta"):
        donor: nn.Module = type(model)(config)
    return donor


def _numbers(config: Any, key: Key = ()) -> Iterator[tuple[Key, int]]:
    """Every integer of a config and of the configs inside it, with where it stands."""
    for name, value in list(vars(config).items()):
        here = (*key, name)
        if name.startswith("_") or isinstance(value, bool):
            continue
        if isinstance(value, int):
            yield here, value
        elif isinstance(value, (list, tuple)):
            for i, item in enumerate(value):
                if isinstance(item, int) and not isinstance(item, bool):
                    yield (*here, i), item
        elif hasattr(value, "to_dict") and hasattr(value, "model_type"):
            yield from _numbers(value, here)


def _candidates(config: Any, sizes: NewSizes) -> list[tuple[Key, list[int]]]:
    changes: dict[int, set[int]] = {}
    for own in (*sizes.changes_by_module().values(), *sizes.changes_in_state().values()):
        for before, after in own.items():
            changes.setdefault(before, set()).update(after)
    found = []
    for key, number in _numbers(config):
        options = changes.get(number, set())
        if options - {number}:
            found.append((key, sorted(options | {number}, key=lambda new: (new == number, new))))
    return found


def _by_likelihood(candidates: list[tuple[Key, list[int]]]) -> Iterator[tuple[int, ...]]:
    """All combinations, those with the fewest second choices first."""
    ranks = sorted(
        itertools.islice(itertools.product(*(range(len(options)) for _, options in candidates)), 4096), key=sum
    )
    for picks in ranks:
        yield tuple(options[i] for (_, options), i in zip(candidates, picks, strict=True))


def _set(config: Any, key: Key, value: int) -> None:
    *path, last = key
    for name in path[:-1] if isinstance(last, int) else path:
        config = getattr(config, name)
    if isinstance(last, int):
        items = list(getattr(config, path[-1]))
        items[last] = value
        setattr(config, path[-1], items)
    else:
        setattr(config, last, value)
