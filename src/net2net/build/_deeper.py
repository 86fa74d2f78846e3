"""Drafts of a deeper student: what its modules and its config say of the number of layers."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from net2net.build._config import Changes, Key, construct, numbers, sequences
from net2net.build._restructure import Skeleton, restructure
from net2net.build._student import adopt, pretrained_in
from net2net.depth import BlockEdit, LayerEdit
from net2net.errors import CouplingError

_MAX_DRAFTS = 8
_ABOUT_DEPTH = re.compile(r"layer|depth|block|stage|repeat")
Setting = tuple[str, str, Any]  # module path, attribute, value


def draft_deeper(teacher: nn.Module, edits: Sequence[BlockEdit | LayerEdit]) -> Iterator[Skeleton]:
    """Candidate students without weights for what is new, the likeliest first.

    Numbers and lists in the modules around a stack that have its length get the new length; the config of a Hugging Face
    model is found by search, so that its class can construct the student.

    Raises:
        CouplingError: no config gives a model with these layers.
    """
    pretrained = dict(pretrained_in(teacher))
    blocks = [e for e in edits if isinstance(e, BlockEdit)]
    for path in pretrained:
        prefix = f"{path}." if path else ""
        inside = [e.place.name for e in edits if isinstance(e, LayerEdit) and e.place.name.startswith(prefix)]
        if inside:
            raise CouplingError(
                f"'{inside[0]}' is in a {type(pretrained[path]).__name__}, whose class makes its layers from a config "
                "that has no word for a further one. Deepen its blocks instead."
            )
    for settings in itertools.islice(_settings(teacher, blocks, set(pretrained)), _MAX_DRAFTS):
        skeleton = restructure(teacher, edits)
        for path, name, value in settings:
            owner = skeleton.model.get_submodule(skeleton.moved.get(path, path))
            setattr(owner, name, value)
        for path, module in pretrained.items():
            student = skeleton.model.get_submodule(path)
            adopt(student, _donor(module, path, student, blocks))
        for path, values in skeleton.attributes.items():
            for name, number in values.items():
                setattr(skeleton.model.get_submodule(path), name, number)
        yield skeleton


def _settings(teacher: nn.Module, edits: Sequence[BlockEdit], pretrained: set[str]) -> Iterator[list[Setting]]:
    """What attributes that count the blocks become: all that speak of layers, all at all, none."""
    found: list[Setting] = []
    for edit in edits:
        count, extra = len(edit.stack.children), len(edit.order) - len(edit.stack)
        path: str | None = edit.stack.container
        while path is not None:
            if not any(p == "" or path == p or path.startswith(p + ".") for p in pretrained):
                for name, value in vars(teacher.get_submodule(path)).items():
                    if not name.startswith("_") and name != "training":
                        new = _longer(value, edit, count, extra)
                        if new is not None:
                            found.append((path, name, new))
            path = path.rpartition(".")[0] if path else None
    named = [s for s in found if _ABOUT_DEPTH.search(s[1])]
    drafts = [named, found, *([one] for one in found), []]
    for i, settings in enumerate(drafts):
        if settings not in drafts[:i]:
            yield settings


def _longer(value: Any, edit: BlockEdit, count: int, extra: int) -> Any:
    if isinstance(value, int) and not isinstance(value, bool) and value == count:
        return count + extra
    if isinstance(value, (list, tuple)) and len(value) == count > 1 and not any(map(_is_live, value)):
        return type(value)(reordered(value, edit))
    return None


def _is_live(value: Any) -> bool:
    return isinstance(value, nn.Module) or hasattr(value, "shape")


def reordered(values: Sequence[Any], edit: BlockEdit) -> list[Any]:
    """A list with one entry for each child of the container, for the deeper container."""
    first, count = edit.stack.first, len(edit.stack)
    blocks = values[first : first + count]
    return [*values[:first], *(blocks[source] for source, _ in edit.order), *values[first + count :]]


def _donor(model: nn.Module, path: str, student: nn.Module, edits: Sequence[BlockEdit]) -> nn.Module:
    """A model of the same class with the student's tensors, constructed from a config found by search."""
    prefix = f"{path}." if path else ""
    mine = [e for e in edits if e.stack.blocks[0].path.startswith(prefix)]
    wanted = {name: tuple(tensor.shape) for name, tensor in student.state_dict().items()}
    reason = "no number of its config equals the number of its layers"
    for choice in itertools.product(*(list(_alternatives(model.config, edit)) for edit in mine)):
        changes = {key: value for some in choice for key, value in some.items()}
        donor = construct(model, changes)
        if donor is None:
            continue
        shapes = {name: tuple(tensor.shape) for name, tensor in donor.state_dict().items()}
        if shapes == wanted:
            return donor
        odd = sorted(set(shapes.items()) ^ set(wanted.items()))
        reason = f"'{odd[0][0]}' would be another" if odd else reason
    names = ", ".join(f"'{e.stack.name}' {len(e.stack)} -> {len(e.order)}" for e in mine)
    raise CouplingError(
        f"{type(model).__name__} can't be constructed with these layers ({names}): {reason}. Its class computes which "
        "layers it has, or what each of them is, from another number. Add as many blocks as its pattern of layers has, "
        "or build the bigger model yourself and use net2net.transfer."
    )


def _alternatives(config: Any, edit: BlockEdit) -> Iterator[Changes]:
    """Ways to say in a config that the stack is longer: its number of layers, with the lists that have one entry for
    each layer."""
    count, total = len(edit.stack.children), len(edit.stack.children) + len(edit.order) - len(edit.stack)
    keys = [key for key, number in numbers(config) if isinstance(number, int) and number == count]
    keys.sort(key=lambda key: not _ABOUT_DEPTH.search(str([k for k in key if isinstance(k, str)][-1])))
    lists: Changes = {key: reordered(items, edit) for key, items in sequences(config) if len(items) == count}
    for size in (1, 2):
        for some in itertools.islice(itertools.combinations(keys, size), 24):
            ints: dict[Key, Any] = dict.fromkeys(some, total)
            clean = {k: v for k, v in lists.items() if not any(key[: len(k)] == k for key in some)}
            yield {**ints, **clean}
            if clean:
                yield ints
    if lists:
        yield lists
