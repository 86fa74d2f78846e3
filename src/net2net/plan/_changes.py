"""What a growth changes: dimensions that are wider, places that are deeper. A system registers changes of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Self, TypeVar

from net2net.plan._axis_map import AxisMap
from net2net.plan._file import Arrays, Store

Preservation = Literal["exact", "approximate", "none"]


class Row(NamedTuple):
    """A change as a line of a table: what it is, its size before and after, and how it is made."""

    what: str
    before: int
    after: int
    how: str


class Change(ABC):
    """One change of a growth. A subclass is a frozen dataclass, registered with `@change`.

    `preserves` says whether the student computes the teacher's function through this change; `why` says why not.
    """

    change: ClassVar[str]
    # What the network is afterwards, what the table calls the thing that changes, and the key of the list in summaries.
    makes: ClassVar[str]
    heading: ClassVar[str]
    listed: ClassVar[str]
    # Whether changes that differ in the numbers of layers only are one line of the table.
    alike: ClassVar[bool] = False
    preserves: Preservation

    @abstractmethod
    def row(self) -> Row:
        """The change as a line of a table."""

    def why(self) -> str:
        """Why the change doesn't preserve the function; empty where it does."""
        return ""

    def bound_to(self) -> str:
        """Why the change can't be replayed on another network; empty where it can."""
        return ""

    def symmetry(self) -> str:
        """What parts copies, or that nothing does; empty where the tensors of the plan say it."""
        return ""

    @abstractmethod
    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader; `data` is what makes it again."""

    @abstractmethod
    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON; arrays go to the store, and their keys into the JSON."""

    @classmethod
    @abstractmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""


_C = TypeVar("_C", bound=type[Change])
_CHANGES: dict[str, type[Change]] = {}


def change(name: str) -> Callable[[_C], _C]:
    """Register a kind of change under the name that saved plans have for it."""

    def register(cls: _C) -> _C:
        cls.change = name
        _CHANGES[name] = cls
        return cls

    return register


def weakest(changes: Iterable[Change]) -> Preservation:
    """What a growth of these changes preserves."""
    promises: tuple[Preservation, ...] = ("exact", "approximate", "none")
    return max((c.preserves for c in changes), key=promises.index, default="exact")


def change_from(data: Mapping[str, Any], arrays: Arrays) -> Change:
    """The change that a saved plan describes.

    Raises:
        KeyError: no such kind is registered.
    """
    return _CHANGES[data["change"]].from_data({k: v for k, v in data.items() if k != "change"}, arrays)


@change("widening")
@dataclass(frozen=True)
class Widening(Change):
    """One dimension of the growth: its name, its sizes, how the new units are made, and which old units they copy."""

    makes: ClassVar[str] = "wider"
    heading: ClassVar[str] = "dimension"
    listed: ClassVar[str] = "dimensions"
    alike: ClassVar[bool] = True

    dimension: str
    before: int
    after: int
    how: str
    units: AxisMap = field(repr=False)
    preserves: Preservation = "exact"

    def row(self) -> Row:
        """The change as a line of a table."""
        return Row(self.dimension, self.before, self.after, self.how)

    def why(self) -> str:
        """Why the change doesn't preserve the function."""
        if self.preserves == "none":
            return f"how='{self.how}' gives the new units of {self.dimension} random outgoing weights"
        return "noise='paper' makes copies differ from what they copy" if self.preserves == "approximate" else ""

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        return {"name": self.dimension, "from": self.before, "to": self.after, "how": self.how}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        plain = {n: getattr(self, n) for n in ("dimension", "before", "after", "how", "preserves")}
        return {**plain, "units": self.units.data(store)}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        return cls(**{**data, "units": AxisMap.from_data(data["units"], arrays)})


@change("deepening")
@dataclass(frozen=True)
class Deepening(Change):
    """One place of the growth in depth: a stack of blocks, or a layer that identity layers follow.

    `sources[i]` is the block of the teacher that block i of the student is, or copies where `new[i]`; for a layer
    they count it and the layers after it. `kernels` are the sizes of new layers: None for a linear one.
    """

    makes: ClassVar[str] = "deeper"
    heading: ClassVar[str] = "deeper at"
    listed: ClassVar[str] = "deepenings"

    place: str
    kind: Literal["blocks", "layers"]
    init: str
    sources: tuple[int, ...]
    new: tuple[bool, ...]
    kernels: tuple[tuple[int, ...] | None, ...] = ()
    preserves: Preservation = "exact"

    @property
    def before(self) -> int:
        """How many blocks or layers the teacher has here."""
        return self.new.count(False)

    @property
    def after(self) -> int:
        """How many the student has."""
        return len(self.new)

    def row(self) -> Row:
        """The change as a line of a table; of blocks with which of the teacher's each is, new ones marked."""
        pairs = zip(self.sources, self.new, strict=True)
        order = f" ({' '.join(f'{source}+' if new else str(source) for source, new in pairs)})"
        return Row(
            self.place, self.before, self.after, f"{self.kind}: {self.init}{order if self.kind == 'blocks' else ''}"
        )

    def why(self) -> str:
        """Why the change doesn't preserve the function."""
        exact = self.preserves == "exact"
        return "" if exact else f"init='{self.init}' puts blocks into {self.place} that are not the identity"

    def summary(self) -> dict[str, Any]:
        """The change as plain data for a reader."""
        sizes = {"place": self.place, "kind": self.kind, "from": self.before, "to": self.after}
        return {**sizes, "init": self.init, "sources": list(self.sources), "new": list(self.new)}

    def data(self, store: Store) -> dict[str, Any]:
        """The change as JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Self:
        """The change that `data` described."""
        kernels = tuple(None if kernel is None else tuple(kernel) for kernel in data.get("kernels", ()))
        return cls(**{**data, "sources": tuple(data["sources"]), "new": tuple(data["new"]), "kernels": kernels})
