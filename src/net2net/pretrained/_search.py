"""Which numbers and lists of a config are about layers, and which changes make its class construct what is wanted."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from net2net.errors import CheckpointError
from net2net.pretrained._config import Changes, Key, bare_model, construct, numbers, sequences, set_key

# Words that say how many layers there are; words that say anything about layers; lists with an entry for each layer.
COUNTS_LAYERS = re.compile(r"layers?$|depths?$")
ABOUT_LAYERS = re.compile(r"layer|depth|block|stage|repeat")
_PARTS_LAYERS = re.compile(r"^first_|layers?_(start|end)|dense_layers$|sparse_layers$")
_NUMBERS_LAYERS = re.compile("layer|idxs|index|indices")
_IS_LAST = re.compile("end")
_PER_LAYER = re.compile("layer|type|pattern|block")
_ANY = re.compile("^(?!.*_ids?$)")


class Search:
    """Models of one class, constructed from a config with changes, and why none of them will do."""

    def __init__(self, model: nn.Module, nothing: str = "", config: Any = None) -> None:
        self.model_class: Any = type(model)
        self.config: Any = model.config if config is None else config
        self.nothing = nothing
        self.refusal: str | None = None  # the first one: later ones follow from it
        self.misfit: str | None = None

    @property
    def reason(self) -> str:
        """What the last model had otherwise, and why the class refused the first one that it refused."""
        return "; ".join(filter(None, (self.misfit, self.refusal))) or self.nothing

    def constructed(self, changes: Changes) -> nn.Module | None:
        """The model of these changes, without weights; None if the class refuses them."""
        try:
            return construct(self.model_class, self.config, changes)
        except CheckpointError as error:
            self.refusal = self.refusal or str(error).rstrip(".")
            return None


def lengths(config: Any, before: int, after: int, lists: Changes) -> Iterator[Changes]:
    """Ways to say in a config that there are `after` layers and not `before`, the likeliest first.

    One or two numbers say it, those first that are about layers, with the `lists` that have an entry for each layer
    or without; or the lists alone do.
    """
    keys = [key for key, number in numbers(config) if isinstance(number, int) and number == before]
    keys.sort(key=lambda key: not ABOUT_LAYERS.search([k for k in key if isinstance(k, str)][-1]))
    for size in (1, 2):
        for some in itertools.islice(itertools.combinations(keys, size), 24):
            ints: Changes = dict.fromkeys(some, after)
            others = {k: v for k, v in lists.items() if not any(key[: len(k)] == k for key in some)}
            yield {**ints, **others}
            if others:
                yield ints
    if lists:
        yield lists


def moved_places(config: Any, before: int, places: Sequence[int]) -> Iterator[Changes]:
    """What words of a config that name layers by their number may become when layers get other numbers.

    Lists of numbers (`mlp_only_layers`, `moe_layers`) name the same layers and their copies. Numbers that part the
    layers (`first_k_dense_replace`, `moe_layer_end_index`) come between the same ones: all of them, one, or none.

    Args:
        config: with `before` layers.
        before: how many layers there are.
        places: for each layer of the new model, the layer that it is or copies.
    """
    lists: Changes = {}
    bounds: list[Changes] = []
    for key, value in words_of_places(config, before).items():
        if isinstance(value, list):
            lists[key] = [place for place, source in enumerate(places) if source in value]
            continue
        is_last = _IS_LAST.search(key[-1]) is not None
        new = sum(source < value + is_last for source in places) - is_last
        if new != value:
            bounds.append({key: new})
    together: Changes = {key: new for one in bounds for key, new in one.items()}
    for some in [together, *(bounds if len(bounds) > 1 else []), *([{}] if bounds else [])]:
        yield {**lists, **some}


def words_of_places(config: Any, count: int) -> Changes:
    """The words of a config with `count` layers that name some of them by their numbers: lists of numbers, and numbers
    between which layers are of one kind."""
    every, found = list(range(count)), Changes()
    for key, items in sequences(config):
        numbered = _NUMBERS_LAYERS.search(str(key[-1])) and all(type(i) is int for i in items)
        if numbered and items and items == sorted(set(items)) and (len(items) < count or items == every):
            found |= {key: items} if set(items) <= set(every) else {}
    for key, number in numbers(config):
        if _PARTS_LAYERS.search(str(key[-1])) and isinstance(number, int) and 0 <= number <= count:
            found[key] = number
    return found


def per_layer(config: Any, count: int) -> dict[Key, list[Any]]:
    """The lists of a config that have so many entries."""
    return {key: items for key, items in sequences(config) if len(items) == count}


def with_longer_lists(
    model_class: type[nn.Module], before: Any, after: Any, chosen: Callable[[int, int], list[int]]
) -> Any:
    """The config `after` with an entry for every layer in its per-layer lists.

    Args:
        model_class: that it is for.
        before: the teacher's config.
        after: the config with the new numbers of layers.
        chosen: says for a number of layers and of further ones whose entry each has.

    Raises:
        CheckpointError: the class refuses it.
    """
    new = dict(numbers(after))
    counts = (
        (key[:-1], n, int(new.get(key, n) - n)) for key, n in numbers(before) if COUNTS_LAYERS.search(f"{key[-1]}")
    )
    grown = [(scope, int(count), more) for scope, count, more in counts if more > 0]
    refusal: CheckpointError | None = None
    for names in (_PER_LAYER, _ANY):  # other lists may have the length by chance
        result = copy.deepcopy(after)
        for scope, count, more in grown:
            for key, items in per_layer(after, count).items():
                if key[:-1] == scope and names.search(str(key[-1])):
                    set_key(result, key, [items[source] for source in chosen(count, more)])
        try:
            bare_model(model_class, result)
            return result
        except CheckpointError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def at_the_end(count: int, more: int) -> list[int]:
    """For each of `count` entries and `more` further ones, the entry that it is like: the last one."""
    return [*range(count), *[count - 1] * more]
