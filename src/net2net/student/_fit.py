"""The fewest numbers of the modules that have to change so that a draft computes what the plan expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, product

from net2net.errors import GrowthError
from net2net.student._attributes import Number, Setting
from net2net.width import Constant

Settings = tuple[Setting, ...]
MAX_DRAFTS = 500
_MAX_TOGETHER = 3
_MAX_SETS = 200


@dataclass(frozen=True)
class Verdict:
    """How far a draft comes: `progress` is compared; `modules` are those where it fails, empty if unknown.

    `error` is None for a draft that computes what is expected, with other numbers in `constants`; `ran` says that its
    forward ran to the end.
    """

    progress: tuple[int, int]
    modules: tuple[str, ...] = ()
    error: GrowthError | None = None
    ran: bool = False
    constants: tuple[Constant, ...] = ()


class Fit:
    """A depth-first search: starts with the numbers as they are, and changes those of the module that fails.

    A change is kept only if the draft comes further with it. The numbers nearest to the failure are tried first, one
    by one and then together; at the end whatever a draft can do without is undone. At most `drafts` are judged.
    """

    def __init__(self, numbers: list[Number], judge: Callable[[Settings], Verdict], drafts: int = MAX_DRAFTS) -> None:
        self.numbers = numbers
        self.judge = judge
        self.drafts = drafts
        self.verdicts: dict[frozenset[Setting], Verdict] = {}
        self.helped: dict[tuple[object, ...], int] = {}  # kinds of changes that brought a draft further

    def find(self, start: Settings = ()) -> tuple[Settings, Verdict]:
        """The settings with which a draft computes what is expected, and how it was judged.

        Raises:
            GrowthError: there are none; why the draft with the numbers as they are fails.
        """
        first = self._verdict(())
        found = () if first.error is None else self._from(start, self._verdict(start)) if start else None
        if found is None:
            found = self._from((), first)
        if found is None:
            assert first.error is not None
            raise first.error
        fewest = self._without_idle(found)
        return fewest, self._verdict(fewest)

    def _verdict(self, settings: Settings) -> Verdict:
        key = frozenset(settings)
        if key not in self.verdicts:
            self.verdicts[key] = self.judge(settings)
        return self.verdicts[key]

    @property
    def _spent(self) -> bool:
        return len(self.verdicts) >= self.drafts

    def _from(self, settings: Settings, verdict: Verdict) -> Settings | None:
        if verdict.error is None:
            return settings
        for group in self._moves(settings, verdict):
            further: list[tuple[Settings, Verdict]] = []
            for move in group:
                if self._spent:
                    return None
                trial = (*settings, *move)
                outcome = self._verdict(trial)
                if outcome.error is None:
                    return trial
                if outcome.progress > verdict.progress:
                    further.append((trial, outcome))
                    for s in move:
                        kind = self._kind(s)
                        self.helped[kind] = self.helped.get(kind, 0) + 1
                    if any(self.helped.get(self._kind(s), 0) > 1 for s in move):
                        break  # what helped in another module of the class
            for trial, outcome in sorted(further, key=lambda pair: pair[1].progress, reverse=True):
                found = self._from(trial, outcome)
                if found is not None:
                    return found
        return None

    @staticmethod
    def _kind(setting: Setting) -> tuple[object, ...]:
        return setting.number.kind, setting.number.steps, setting.number.old, setting.new

    def _moves(self, settings: Settings, verdict: Verdict) -> Iterator[list[Settings]]:
        """Changes to try, in groups: the numbers of the failing module, those around it, all, then several at once."""
        taken = {s.number for s in settings}
        free = [n for n in self.numbers if n not in taken]
        distances = {n: min((_distance(n.module, m) for m in verdict.modules), default=0) for n in free}
        near = sorted(free, key=lambda n: distances[n])
        for distance in dict.fromkeys(distances[n] for n in near):
            ring = [n for n in near if distances[n] == distance]
            singles = [self._everywhere(Setting(n, new), verdict, taken) for n in ring for new in n.options]
            yield sorted(dict.fromkeys(singles), key=lambda move: -max(self.helped.get(self._kind(s), 0) for s in move))
            close = [n for n in near if distances[n] <= distance]
            if distance <= 1:
                for count in range(2, _MAX_TOGETHER + 1):
                    yield list(_together(close, count))
        for count in range(2, _MAX_TOGETHER + 1):
            yield list(_together(near, count))

    @staticmethod
    def _is_at(number: Number, verdict: Verdict) -> bool:
        return number.module in verdict.modules

    def _everywhere(self, setting: Setting, verdict: Verdict, taken: set[Number]) -> Settings:
        """The same change in all modules of the class that fail alike: a forward that ran shows all of them at once."""
        if not verdict.ran or not self._is_at(setting.number, verdict):
            return (setting,)
        mine = self._kind(setting)
        alike = [
            Setting(n, setting.new)
            for n in self.numbers
            if n not in taken and self._is_at(n, verdict) and self._kind(Setting(n, setting.new)) == mine
        ]
        return tuple(alike)

    def _without_idle(self, settings: Settings) -> Settings:
        for setting in settings:
            fewer = tuple(s for s in settings if s != setting)
            if not self._spent and self._verdict(fewer).error is None:
                settings = fewer
        return settings


def _together(numbers: list[Number], count: int) -> Iterator[Settings]:
    made = 0
    for some in combinations(numbers, count):
        for news in product(*(n.options for n in some)):
            if made >= _MAX_SETS:
                return
            made += 1
            yield tuple(Setting(n, new) for n, new in zip(some, news, strict=True))


def _distance(a: str, b: str) -> int:
    """How many steps lie between two modules in the tree."""
    left, right = (path.split(".") if path else [] for path in (a, b))
    shared = 0
    while shared < min(len(left), len(right)) and left[shared] == right[shared]:
        shared += 1
    return len(left) + len(right) - 2 * shared
