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


_MAX_TRIES = 96
Key = tuple[Any, ...]  # where a number stands in a config: attribute names and list positions


def is_pretrained(module: nn.Module) -> bool:
    """Whether a module is a transformers model with a config."""
    config = getattr(module, "config", None)
    return config is not None and hasattr(config, "to_dict") and hasattr(module, "_init_weights")


def donor_of(model: nn.Module, path: str, shapes: dict[str, torch.Size | tuple[int, ...]], sizes: NewSizes) -> nn.Module:
    """A model of the same class at the student's sizes, on the meta device, constructed from its config.

    The config is found by search: every number in it that equals a size that changes is a candidate, and the
    first combination that constructs exactly the shapes of the plan is taken.

    Raises:
        CouplingError: no config gives these shapes; the class computes one size from another.
    """
    prefix = f"{path}." if path else ""
    wanted = {
        name: tuple(shapes.get(prefix + name, tensor.shape)) for name, tensor in model.state_dict().items()
    }
    config: Any = model.config
    candidates = _candidates(config, sizes)
    reason = "no number of its config equals a size that changes"
    for picks in itertools.islice(_by_likelihood(candidates), _MAX_TRIES):
        changed = copy.deepcopy(config)
        for (key, _), new in zip(candidates, picks, strict=True):
            _set(changed, key, new)
        try:
            donor = _construct(model, changed)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            continue
        found = {name: tuple(tensor.shape) for name, tensor in donor.state_dict().items()}
        wrong = [name for name in wanted if found.get(name) != wanted[name]]
        if not wrong:
            return donor
        reason = f"'{wrong[0]}' would be {found.get(wrong[0])}, not {wanted[wrong[0]]}"
    coupled = ", ".join(sorted({str(key[-1]) for key, _ in candidates}))
    raise CouplingError(
        f"{type(model).__name__} can't be constructed at these sizes ({reason}). Its class ties sizes to each other: "
        f"grow the dimensions behind {coupled or 'its config'} by the same factor."
    )


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
