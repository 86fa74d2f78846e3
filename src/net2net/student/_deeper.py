"""Drafts of a deeper student: what its modules and its config say of the number of layers."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from net2net.capture import structural_copy
from net2net.depth import BlockEdit, LayerEdit
from net2net.errors import CouplingError
from net2net.plan import TensorPlan
from net2net.pretrained import (
    ABOUT_LAYERS,
    Changes,
    Search,
    lengths,
    moved_places,
    numbers,
    per_layer,
    pretrained_in,
    shapes,
)
from net2net.student._draft import adopt
from net2net.student._edited import Skeleton
from net2net.student._eps import take_eps
from net2net.student._numbers import even_rates, own_numbers
from net2net.student._restructure import restructure

_MAX_DRAFTS = 8
Setting = tuple[str, str, Any]  # module path, attribute, value


class PlaceError(CouplingError):
    """A class makes a block what it is by its place among the others."""


def draft_deeper(
    teacher: nn.Module,
    edits: Sequence[BlockEdit | LayerEdit],
    unread: Collection[str] = (),
    like: nn.Module | None = None,
) -> Iterator[Skeleton]:
    """Candidate students without weights for what is new, the likeliest first.

    Numbers and lists in the modules around a stack that have its length get the new length; the config of a Hugging
    Face model is found by search, so that its class can construct the student.

    Args:
        teacher: the teacher.
        edits: what is to be deeper.
        unread: tensors that no operation reads: any size will do for them.
        like: a student that the user built, as deep and perhaps wider: it is the first draft.

    Raises:
        CouplingError: no config gives a model with these layers.
        PlaceError: it would, but for blocks of the teacher that would be something else at their new place.
    """
    pretrained = dict(pretrained_in(teacher))
    blocks = [e for e in edits if isinstance(e, BlockEdit)]
    for path in pretrained:
        prefix = f"{path}." if path else ""
        inside = [e.place.path for e in edits if isinstance(e, LayerEdit) and e.place.path.startswith(prefix)]
        if inside:
            raise CouplingError(
                f"'{inside[0]}' is in a {type(pretrained[path]).__name__}, whose class makes its layers from a config "
                "that cannot express a further one. Deepen its blocks instead."
            )
    if like is not None and not pretrained:
        yield from _drafts_like(like, teacher, edits)
    stacked = [e for e in blocks if not any(_inside(e.stack.container, path) for path in pretrained)]
    for settings, counted in itertools.product(
        itertools.islice(_settings(teacher, blocks, set(pretrained)), _MAX_DRAFTS), (True, False)
    ):
        skeleton = restructure(teacher, edits)
        numbers = list(own_numbers(teacher, skeleton.model, stacked))
        if not counted and not numbers:
            continue
        for path, name, value in settings:
            skeleton.set(skeleton.moved.get(path, path), name, value)
        if counted:
            for path, name, value in numbers:
                skeleton.set(path, name, value)
        for path, module in pretrained.items():
            student = skeleton.model.get_submodule(path)
            donor = _Donors(module, path, student, blocks, skeleton.moved, unread).find()
            adopt(student, donor)
            skeleton.tensors.update(_resized(donor, path, student, skeleton))
        skeleton.notes = [note for e in stacked for note in even_rates(teacher, e)]
        if not counted:
            names = sorted({name for _, name, _ in numbers})
            skeleton.notes.append(f"{names} are not counted anew: blocks compute with their numbers, or need them")
        yield _with_attributes(skeleton)


def _inside(path: str, other: str) -> bool:
    return other == "" or path == other or path.startswith(other + ".")


def _drafts_like(like: nn.Module, teacher: nn.Module, edits: Sequence[BlockEdit | LayerEdit]) -> Iterator[Skeleton]:
    """The user's own student with the teacher's sizes: itself if it is no wider, else a copy of the teacher with what
    the modules around the stacks say in the student."""
    skeleton = restructure(teacher, edits)
    tensors = {**dict(skeleton.model.named_parameters()), **dict(skeleton.model.named_buffers())}
    theirs = {**dict(like.named_parameters()), **dict(like.named_buffers())}
    if {n: t.shape for n, t in tensors.items()} == {n: t.shape for n, t in theirs.items()}:
        deeper = skeleton.model
        skeleton.model = structural_copy(like, lambda name, _: tensors[name])
        for path, taken in take_eps(deeper, skeleton.model).items():
            skeleton.attributes[path] = {**taken, **skeleton.attributes.get(path, {})}
        yield _with_attributes(skeleton)
        return
    around = {path for e in edits if isinstance(e, BlockEdit) for path in ("", *_prefixes(e.stack.container))}
    modules = dict(like.named_modules())
    for path in sorted(around & modules.keys()):
        for name, value in vars(modules[path]).items():
            if not name.startswith("_") and name not in _MODES and _is_data(value):
                setattr(skeleton.model.get_submodule(path), name, value)
    yield _with_attributes(skeleton)


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split(".") if path else []
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _is_data(value: Any) -> bool:
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return all(map(_is_data, value))
    return value is None or _is_plain(value)


def _with_attributes(skeleton: Skeleton) -> Skeleton:
    for path, values in skeleton.attributes.items():
        for name, number in values.items():
            setattr(skeleton.model.get_submodule(path), name, number)
    return skeleton


def _settings(teacher: nn.Module, edits: Sequence[BlockEdit], pretrained: set[str]) -> Iterator[list[Setting]]:
    """What attributes that count the blocks become: all that speak of layers, one more, all at all, none."""
    found: list[Setting] = []
    for container in dict.fromkeys(e.stack.container for e in edits):
        inside = [e for e in edits if e.stack.container == container]
        path: str | None = container
        while path is not None:
            if not any(_inside(path, p) for p in pretrained):
                for name, value in vars(teacher.get_submodule(path)).items():
                    if not name.startswith("_") and name not in _MODES:
                        new = _longer(value, inside)
                        if new is not None:
                            found.append((path, name, new))
            path = path.rpartition(".")[0] if path else None
    named = [s for s in found if ABOUT_LAYERS.search(s[1])]
    drafts = [named, *([*named, one] for one in found if one not in named), found, []]
    for i, settings in enumerate(drafts):
        if settings not in drafts[:i]:
            yield settings


def _longer(value: Any, edits: Sequence[BlockEdit]) -> Any:
    """A number of children, or a list with one entry for each, as it is with more blocks in the container."""
    count = len(edits[0].stack.children)
    if isinstance(value, int) and not isinstance(value, bool) and value == count:
        return count + sum(len(e.order) - len(e.stack) for e in edits)
    if isinstance(value, (list, tuple)) and len(value) == count > 1 and not any(map(_is_live, value)):
        longer: Sequence[Any] = value
        for edit in sorted(edits, key=lambda e: -e.stack.first):  # from the end: places before it stay
            longer = reordered(longer, edit)
        return type(value)(longer)
    return None


def _is_live(value: Any) -> bool:
    return isinstance(value, nn.Module) or hasattr(value, "shape")


def reordered(values: Sequence[Any], edit: BlockEdit) -> list[Any]:
    """A list with one entry for each child of the container, for the deeper container."""
    first, count = edit.stack.first, len(edit.stack)
    blocks = values[first : first + count]
    return [*values[:first], *(blocks[source] for source, _ in edit.order), *values[first + count :]]


class _Donors(Search):
    """Looks for a model of the same class with the student's tensors, constructed from a config."""

    def __init__(
        self,
        model: nn.Module,
        path: str,
        student: nn.Module,
        edits: Sequence[BlockEdit],
        moved: Mapping[str, str],
        unread: Collection[str],
    ) -> None:
        super().__init__(model, "no number of its config equals the number of its layers")
        prefix = f"{path}." if path else ""
        self.model, self.prefix = model, prefix
        self.edits = [e for e in edits if e.stack.blocks[0].path.startswith(prefix)]
        skipped = {moved_name(name, moved) for name in unread}
        own = shapes(student)
        self.wanted = {name: shape for name, shape in own.items() if prefix + name not in skipped}
        self.names = own.keys()
        self.moved = moved
        self.by_place: str | None = None

    def find(self) -> nn.Module:
        """The first donor that fits."""
        for choice in itertools.product(*(self._for_one(edit) for edit in self.edits)):
            changes = {key: value for some in choice for key, value in some.items()}
            donor = self._fitting(changes)
            if donor is not None:
                return donor
        names = ", ".join(f"'{e.stack.name}' {len(e.stack)} -> {len(e.order)}" for e in self.edits)
        what = f"{type(self.model).__name__} can't be constructed with these layers ({names})"
        if self.by_place is not None:
            raise PlaceError(
                f"{what} and keep its own: {self.by_place}. Its class computes that from the place of the layer or "
                "the number of layers. positions='append' leaves every layer where it is."
            )
        raise CouplingError(
            f"{what}: {self.reason}. Its class computes which layers it has, or what each of them is, from another "
            "number. Add as many blocks as its pattern of layers has, or build the bigger model yourself and use "
            "net2net.transfer."
        )

    def _for_one(self, edit: BlockEdit) -> list[Changes]:
        """The ways to say that one stack is longer which give this stack its tensors."""
        ways = list(_alternatives(self.config, edit))
        if len(self.edits) == 1:
            return ways
        start = f"{edit.stack.container}.".removeprefix(self.prefix)
        wanted = {name: shape for name, shape in self.wanted.items() if name.startswith(start)}
        fitting = []
        for changes in ways:
            donor = self.constructed(changes)
            found = {} if donor is None else shapes(donor)
            if wanted == {name: shape for name, shape in found.items() if name in wanted}:
                fitting.append(changes)
        return fitting or ways

    def _fitting(self, changes: Changes) -> nn.Module | None:
        donor = self.constructed(changes)
        if donor is None:
            return None
        found = shapes(donor)
        odd = sorted(name for name, shape in self.wanted.items() if found.get(name) != shape)
        odd += sorted(found.keys() - self.names)
        if odd:
            self.misfit = f"'{odd[0]}' would be another"
            return None
        different = list(self._different(donor))
        if not different:
            return donor
        ratios = {old / new for _, old, new in different if isinstance(old, float) and new}
        if len(ratios) == 1 and all(isinstance(old, float) for _, old, _ in different):
            for key, number in numbers(self.config):  # a multiplier that depends on the number of layers
                if isinstance(number, float) and key not in changes:
                    other = self.constructed({**changes, key: number * next(iter(ratios))})
                    if other is not None and not list(self._different(other)):
                        return other
        name, old, new = different[0]
        self.by_place = f"'{name}' would be {new} instead of {old}"
        return None

    def _different(self, donor: nn.Module) -> Iterator[tuple[str, Any, Any]]:
        """Numbers of the teacher's blocks that a donor has otherwise, but for their indices and drop rates."""
        theirs = dict(donor.named_modules())
        for edit in self.edits:
            for index, (source, new) in enumerate(edit.order):
                if new:
                    continue
                start = edit.stack.blocks[source].path
                for path, module in self.model.get_submodule(start.removeprefix(self.prefix)).named_modules():
                    full = f"{start}.{path}" if path else start
                    other = theirs.get(self.moved.get(full, full).removeprefix(self.prefix))
                    for name, value in vars(module).items() if other is not None else ():
                        if not _is_plain(value) or name.startswith("_") or name in _MODES or "drop" in name:
                            continue
                        found = getattr(other, name, value)
                        shifted = _is_int(value) and _is_int(found) and found - value == index - source
                        if not shifted and not _same(value, found):
                            yield f"{full}.{name}", value, found


# What is set on a module after it was made: it says how it runs, not what it is.
_MODES = ("training", "gradient_checkpointing")


def _is_plain(value: Any) -> bool:
    return isinstance(value, (bool, int, float, str))


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= 1e-12 * abs(a))


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def moved_name(name: str, moved: Mapping[str, str]) -> str:
    """Where a tensor of the teacher is in the student."""
    path, _, attribute = name.rpartition(".")
    return f"{moved.get(path, path)}.{attribute}" if path else attribute


def _resized(donor: nn.Module, path: str, student: nn.Module, skeleton: Skeleton) -> Iterator[tuple[str, TensorPlan]]:
    """Tensors that no operation reads and that the class has at another size now: cut or padded with zeros."""
    theirs = donor.state_dict()
    back = {new: old for old, new in skeleton.moved.items()}
    for name, tensor in student.state_dict().items():
        shape = tuple(theirs[name].shape)
        if shape != tuple(tensor.shape):
            full = f"{path}.{name}" if path else name
            yield full, TensorPlan.resized(tensor.shape, shape, "zero", source=moved_name(full, back))


def _alternatives(config: Any, edit: BlockEdit) -> Iterator[Changes]:
    """Ways to say in a config that the stack is longer: its number of layers, with the lists that have one entry for
    each layer."""
    count = len(edit.stack.children)
    places = reordered(range(count), edit)
    lists = {key: reordered(items, edit) for key, items in per_layer(config, count).items()}
    for changes in moved_places(config, count, places):
        yield from ({**longer, **changes} for longer in lengths(config, count, len(places), lists))
