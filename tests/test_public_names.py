"""No public name and no parameter is lost: what there is now, compared with a stored list.

After a wanted change write the list anew, and say in CHANGELOG.md what changed:

    PYTHONPATH=src python tests/test_public_names.py
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import net2net
from net2net import huggingface, rl, training

STORED = Path(__file__).parent / "public_names.json"
NAMESPACES = (net2net, training, huggingface, rl)
# Classes that users construct; of all others the library makes the instances.
MADE_BY_USERS = (
    net2net.NoiseSpec,
    net2net.Features,
    net2net.Chain,
    net2net.FeatureDistillation,
    net2net.LogitsDistillation,
    training.Anneal,
    training.GrowthSchedule,
)
# What is known of a name: its parameters as text, or nothing where it can't be called.
Signature = dict[str, str] | None


def signature(function: Callable[..., Any]) -> Signature:
    """Each parameter with its kind, and its default where it has one."""
    return {
        name: parameter.kind.name.lower()
        + (f" = {parameter.default!r}" if parameter.default is not parameter.empty else "")
        for name, parameter in inspect.signature(function).parameters.items()
    }


def members(cls: type) -> Iterator[tuple[str, Signature]]:
    """Public methods with their parameters; properties and fields by name."""
    yield from ((field.name, None) for field in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else ()
    for name, member in inspect.getmembers(cls):
        owner = next(c for c in cls.__mro__ if name in vars(c)) if not name.startswith("_") else object
        if owner.__module__.startswith("net2net"):
            yield name, signature(member) if callable(member) else None


def public_names() -> dict[str, Signature]:
    """Every name that a user may rely on, private fields left out."""
    found: dict[str, Signature] = {}
    for namespace in NAMESPACES:
        for name in namespace.__all__:
            value, path = getattr(namespace, name), f"{namespace.__name__}.{name}"
            if inspect.isclass(value):
                found[path] = signature(value) if value in MADE_BY_USERS else None
                found |= {f"{path}.{key}": s for key, s in members(value) if not key.startswith("_")}
            else:
                found[path] = signature(value) if callable(value) else None
    return dict(sorted(found.items()))


def lost(stored: dict[str, Signature], now: dict[str, Signature]) -> Iterator[str]:
    """What a caller who relies on the stored names would stumble over; new names and new options are welcome."""
    for name, before in stored.items():
        if name not in now:
            yield f"{name} is gone"
            continue
        after = now[name]
        if before is None:
            continue
        if after is None:
            yield f"{name} can't be called any more"
            continue
        yield from (f"{name}: parameter '{key}' is gone" for key in before.keys() - after.keys())
        yield from (
            f"{name}: '{key}' was {text}, is {after[key]}"
            for key, text in before.items()
            if after.get(key, text) != text
        )
        added = [key for key in after if key not in before]
        yield from (
            f"{name}: new parameter '{key}' has no default"
            for key in added
            if "=" not in after[key] and not after[key].startswith("var_")
        )
        positions = [[key for key, text in one.items() if text.startswith("positional")] for one in (before, after)]
        if positions[1][: len(positions[0])] != positions[0]:
            yield f"{name}: the order of its parameters was {positions[0]}, is {positions[1]}"


def test_no_public_name_and_no_parameter_is_lost() -> None:
    changed = list(lost(json.loads(STORED.read_text()), public_names()))
    assert not changed, "\n".join([*changed, (__doc__ or "").partition("\n\n")[2]])


def old(model: Any, sizes: Any, *, how: str = "split") -> None: ...
def without_option(model: Any, sizes: Any) -> None: ...
def in_another_order(sizes: Any, model: Any, *, how: str = "split") -> None: ...
def with_another_default(model: Any, sizes: Any, *, how: str = "pair") -> None: ...
def with_a_duty(model: Any, sizes: Any, *, how: str = "split", seed: int) -> None: ...
def with_another_name(net: Any, sizes: Any, *, how: str = "split") -> None: ...
def with_an_option(model: Any, sizes: Any, inputs: Any = None, *, how: str = "split", seed: int = 0) -> None: ...


@pytest.mark.parametrize(
    ("new", "seen"),
    [
        (without_option, "'how' is gone"),
        (in_another_order, "order"),
        (with_another_default, "how"),
        (with_a_duty, "'seed' has no default"),
        (with_another_name, "'model' is gone"),
        (with_an_option, ""),
        (old, ""),
    ],
)
def test_a_lost_parameter_is_seen(new: Callable[..., None], seen: str) -> None:
    found = list(lost({"f": signature(old)}, {"f": signature(new)}))
    assert bool(found) == bool(seen) and seen in " ".join(found)


def test_a_lost_name_is_seen() -> None:
    assert list(lost({"f": signature(old), "C.x": None}, {"f": None})) == ["f can't be called any more", "C.x is gone"]


@pytest.mark.parametrize(
    ("old_name", "room", "name"),
    [
        ("widening", "operators", "widen"),
        ("deepening", "operators", "deepen"),
        ("growing", "operators", "grow"),
        ("transferring", "operators", "transfer"),
        ("replaying", "operators", "replay"),
        ("request", "analysis", "resolve_request"),
        ("dimensions", "analysis", "analyze"),
    ],
)
def test_old_modules_of_the_root_lead_to_the_rooms(old_name: str, room: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"net2net.{old_name} is now net2net.{room}"):
        module = getattr(net2net, old_name)
    assert module.__name__ == f"net2net.{room}" and callable(getattr(module, name))


def test_other_names_are_no_attributes() -> None:
    with pytest.raises(AttributeError, match="no attribute 'narrowing'"):
        _ = net2net.narrowing


if __name__ == "__main__":
    STORED.write_text(json.dumps(public_names(), indent=1) + "\n")
