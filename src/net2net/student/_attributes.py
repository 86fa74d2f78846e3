"""The whole numbers that modules keep as attributes: which could be a size, and setting them anew."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from net2net.student._layers import is_updated
from net2net.student._sizes import NewSizes

_INTERNAL = frozenset(vars(nn.Module())) | {"training"}
_PLACES = {nn.MultiheadAttention: {"embed_dim", "kdim", "vdim", "head_dim"}}  # set from the weights
_MAX_ENTRIES = 64
Steps = tuple[tuple[str, Any], ...]  # ("attribute", name), ("entry", index or key) ...


@dataclass(frozen=True)
class Number:
    """A whole number that a module keeps, and what it may become, the likeliest first.

    `steps` lead from the module to the number: an attribute, then entries of lists and dicts or attributes of plain
    objects.
    """

    module: str
    kind: type
    steps: Steps
    old: int
    options: tuple[int, ...]

    @property
    def place(self) -> str:
        """The number as it is written in Python, seen from the model."""
        first, *rest = self.steps
        name = str(first[1]) + "".join(f".{key}" if how == "attribute" else f"[{key!r}]" for how, key in rest)
        return f"{self.module}.{name}" if self.module else name


@dataclass(frozen=True)
class Setting:
    """A number set anew."""

    number: Number
    new: int


def numbers_in(teacher: nn.Module, sizes: NewSizes, skipped: Collection[str]) -> list[Number]:
    """Numbers of the teacher's modules that equal a size that changes.

    Args:
        teacher: the teacher.
        sizes: which sizes change.
        skipped: paths of modules that are constructed anew, with all that is in them.
    """
    own, state = sizes.changes_by_module(), sizes.changes_in_state()
    everywhere: dict[int, set[int]] = {}
    for changes in (*own.values(), *state.values()):
        for before, after in changes.items():
            everywhere.setdefault(before, set()).update(after)
    found: list[Number] = []
    seen: set[int] = set()
    for path, module in teacher.named_modules():
        if any(p == "" or path == p or path.startswith(p + ".") for p in skipped) or is_updated(module):
            continue
        fixed = next((names for kind, names in _PLACES.items() if isinstance(module, kind)), set())
        for name, value in vars(module).items():
            if name in _INTERNAL or name in fixed:
                continue
            for steps, number in _numbers(value, (("attribute", name),), seen):
                near = [c.get(path, {}).get(number, set()) for c in (state, own)]
                options = dict.fromkeys(n for news in (*near, everywhere.get(number, set())) for n in sorted(news))
                options.pop(number, None)
                if options:
                    found.append(Number(path, type(module), steps, number, tuple(options)))
    return found


def _numbers(value: Any, steps: Steps, seen: set[int]) -> Iterator[tuple[Steps, int]]:
    if isinstance(value, int) and not isinstance(value, bool):
        yield steps, value
        return
    entries: list[tuple[tuple[str, Any], Any]] = []
    if isinstance(value, (list, tuple)):
        entries = [(("entry", i), v) for i, v in enumerate(value)]
    elif isinstance(value, Mapping):
        entries = [(("entry", k), v) for k, v in value.items()]
    elif _is_record(value):
        entries = [(("attribute", n), v) for n, v in vars(value).items()]
    if not entries or len(entries) > _MAX_ENTRIES or len(steps) > 3:
        return
    if not isinstance(value, tuple):
        if id(value) in seen:  # a config that several modules share is one
            return
        seen.add(id(value))
    for step, entry in entries:
        yield from _numbers(entry, (*steps, step), seen)


def _is_record(value: Any) -> bool:
    """Whether a value is a plain object with attributes: a dataclass, a namespace, a config."""
    if isinstance(value, (type, nn.Module, torch.Tensor, torch.device)) or callable(value) or hasattr(value, "to_dict"):
        return False
    return hasattr(value, "__dict__") and not type(value).__module__.startswith(("torch.", "builtins"))


def set_numbers(model: nn.Module, settings: Collection[Setting]) -> None:
    """Set numbers of a model's modules anew, in place."""
    for setting in settings:
        module = model.get_submodule(setting.number.module)
        _set(module, setting.number.steps, setting.new)
        if isinstance(module, nn.MultiheadAttention):
            module.head_dim = module.embed_dim // module.num_heads


def _set(owner: Any, steps: Steps, new: int) -> Any:
    """The owner with a number in it set anew; a tuple is another one then."""
    if not steps:
        return new
    (how, key), *rest = steps
    before = getattr(owner, key) if how == "attribute" else owner[key]
    after = _set(before, tuple(rest), new)
    if how == "attribute":
        if isinstance(owner, nn.Module) or not getattr(type(owner), "__dataclass_params__", None):
            setattr(owner, key, after)
        else:
            object.__setattr__(owner, key, after)  # a frozen dataclass, of the copy
    elif isinstance(owner, tuple):
        entries = [*owner[:key], after, *owner[key + 1 :]]
        return type(owner)(*entries) if hasattr(owner, "_fields") else type(owner)(entries)
    else:
        owner[key] = after
    return owner


def settings_of(changed: Mapping[str, tuple[Any, Any]], numbers: Collection[Number]) -> tuple[Setting, ...]:
    """Those of a plan's changes that a teacher has numbers for."""
    by_name = {n.place: n for n in numbers}
    found = []
    for place, (old, new) in changed.items():
        number = by_name.get(place)
        if number is not None and number.old == old:
            found.append(Setting(number, int(new)))
    return tuple(found)
