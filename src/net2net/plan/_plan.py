"""A growth as data: for every tensor of the student, where each entry comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from net2net.errors import OptionError
from net2net.plan._changes import Change, Deepening, Preservation, Widening, change_from
from net2net.plan._file import Arrays, Store, fingerprint, not_a_plan, plain, read, write
from net2net.plan._table import reasons, step_table
from net2net.plan._tensor_plan import TensorPlan

_PROMISES = ("exact", "approximate", "none")
_IN_WORDS = {
    "exact": "exactly function-preserving",
    "approximate": "approximately function-preserving",
    "none": "NOT function-preserving",
}
# Of saved plans: 1 had lists of widenings and deepenings, 2 has one list of changes.
_FORMAT = 2
_PLAIN = ("seed", "preserves", "attributes", "left_out", "removed", "notes", "version")


@dataclass(frozen=True)
class Plan:
    """A growth as data. `tensors` holds the tensors that change; every other one is copied as it is.

    `attributes` are the module attributes that the growth sets beside the sizes, a norm's eps:
    {module path: {attribute: value}}; `changed` are those that it sets anew: {path.attribute: (old, new)}. `preserves`
    says whether the student computes the teacher's function: "exact", "approximate" (noise as in the paper) or "none"
    (the random-pad baseline). `left_out` are dimensions or places that a factor for all did not grow, with the reason.
    `removed` are tensors that the student has under other names only, `notes` what a reader should know. `earlier` is a
    growth that is carried out first: its student is this one's
    teacher.
    """

    tensors: dict[str, TensorPlan]
    changes: tuple[Change, ...]
    seed: int
    preserves: Preservation = "exact"
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    earlier: Plan | None = None
    version: str = ""

    @property
    def widenings(self) -> tuple[Widening, ...]:
        """The dimensions that are wider."""
        return tuple(c for c in self.changes if isinstance(c, Widening))

    @property
    def deepenings(self) -> tuple[Deepening, ...]:
        """The places that are deeper."""
        return tuple(c for c in self.changes if isinstance(c, Deepening))

    @property
    def draws_initial(self) -> bool:
        """Whether some new entries are what a layer's own initialiser draws."""
        return any(tensor.draws_initial for tensor in self.tensors.values())

    def require_replayable(self) -> None:
        """Raise if the plan was made for one network only.

        Raises:
            OptionError: it was.
        """
        for reason in (c.bound_to() for step in self.steps for c in step.changes):
            if reason:
                raise OptionError(reason)

    def after(self, earlier: Plan) -> Plan:
        """One plan for two growths, `earlier` and then this one; of one that grows nothing the notes are kept."""
        if not (self.changes or self.tensors):
            both = {**earlier.attributes, **self.attributes}
            merged = {p: {**earlier.attributes.get(p, {}), **self.attributes.get(p, {})} for p in both}
            return replace(earlier, attributes=merged, notes=(*earlier.notes, *self.notes))
        first = earlier if self.earlier is None else self.earlier.after(earlier)
        return replace(self, earlier=first, preserves=max(self.preserves, earlier.preserves, key=_PROMISES.index))

    @property
    def steps(self) -> tuple[Plan, ...]:
        """The growths that this one consists of, the first one first, each without the ones before it."""
        return (*(self.earlier.steps if self.earlier is not None else ()), replace(self, earlier=None))

    def summary(self) -> dict[str, Any]:
        """What grew, and which tensors changed; `earlier` is the growth that came first, if there are two."""
        changes: dict[str, list[Any]] = {Widening.listed: [], Deepening.listed: []}
        for one in self.changes:
            changes.setdefault(one.listed, []).append(one.summary())
        return {
            "seed": self.seed,
            "preserves": self.preserves,
            **changes,
            "tensors": {name: list(tensor.shape) for name, tensor in self.tensors.items()},
            "attributes": self.attributes,
            "changed": {name: [plain(old), plain(new)] for name, (old, new) in self.changed.items()},
            "left_out": self.left_out,
            "notes": list(self.notes),
            "earlier": None if self.earlier is None else self.earlier.summary(),
        }

    def save(self, path: str | Path) -> None:
        """Write the plan to one file; `Plan.load` reads it, and `net2net.replay` carries it out again."""
        write(path, lambda store: {"format": _FORMAT, **self._data(store)})

    @property
    def fingerprint(self) -> str:
        """A hash of all that the plan says: equal plans have the same one, on every machine."""
        return fingerprint(self._data)

    def _data(self, store: Store) -> dict[str, Any]:
        return {
            "tensors": {name: t.data(store) for name, t in self.tensors.items()},
            "changes": [{"change": c.change, **c.data(store)} for c in self.changes],
            "changed": {name: [plain(value) for value in pair] for name, pair in self.changed.items()},
            "earlier": None if self.earlier is None else self.earlier._data(store),
            **{name: getattr(self, name) for name in _PLAIN},
        }

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan that `save` wrote, in this version of the library or an earlier one.

        Raises:
            OptionError: the file is no plan, or one of a later version.
        """
        data, arrays = read(path)
        try:
            written = data.get("format", 1)
            if written > _FORMAT:
                raise OptionError(
                    f"{path} is a plan of format {written}, written by net2net {data.get('version')}; this version "
                    f"reads formats up to {_FORMAT}. Update net2net."
                )
            return cls._from_data(data, arrays)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise not_a_plan(path, error) from error

    @classmethod
    def _from_data(cls, data: Mapping[str, Any], arrays: Arrays) -> Plan:
        changes = data["changes"] if "changes" in data else _of_format_1(data)
        rest: dict[str, Any] = {n: tuple(data[n]) if isinstance(data[n], list) else data[n] for n in _PLAIN}
        return cls(
            {name: TensorPlan.from_data(t, arrays) for name, t in data["tensors"].items()},
            tuple(change_from(c, arrays) for c in changes),
            changed={name: (old, new) for name, (old, new) in data.get("changed", {}).items()},
            earlier=None if data["earlier"] is None else cls._from_data(data["earlier"], arrays),
            **rest,
        )

    def __str__(self) -> str:
        promise = _IN_WORDS[self.preserves]
        steps = self.steps
        norms = (t for step in steps for name, t in step.tensors.items() if name.endswith("running_mean"))
        if self.preserves == "exact" and any(tensor.fill == "values" for tensor in norms):
            promise += " in eval mode (in train mode a new BatchNorm sees each batch)"
        text = f"{promise}, seed {self.seed}"
        for number, step in enumerate(steps, start=1):
            what = " and ".join(dict.fromkeys(c.makes for c in step.changes))
            text += f"\n\nstep {number}: {what}" if len(steps) > 1 else ""
            text += f"\n\n{step_table(step.changes, step.tensors)}"
            text += "".join(f"\n{line}" for line in step._lines())
        return text

    def _lines(self) -> Iterator[str]:
        """What there is to say of a step beside its table."""
        for path, attributes in self.attributes.items():
            yield from (f"{path}.{name} = {value:.6g}" for name, value in attributes.items())
        yield from (f"{name}: {old!r} -> {new!r}" for name, (old, new) in self.changed.items())
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"left out: {line}" for line in reasons(self.left_out))


def _of_format_1(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The changes of a plan that was saved before they were one list and said themselves what they preserve."""
    kept = {"preserves": data["preserves"]}
    widenings = [{"change": "widening", **kept, **w} for w in data["widenings"]]
    return widenings + [{"change": "deepening", **kept, **d} for d in data["deepenings"]]


def check_seed(seed: object) -> None:
    """Raise if a seed is invalid.

    Raises:
        OptionError: it isn't.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise OptionError(f"invalid seed={seed!r}; use an int from 0 to 2**63 - 1.")
