"""Rooms stand in one order: a file imports its own room and rooms before it, also inside functions and for types."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "src" / "net2net"
# Floors from the ground up. A new room is one word here; rooms of one floor don't import each other.
ORDER = (
    "errors _version | report pretrained nexus | plan capture | axes apply optimizer proof | sites | width depth"
    " | analysis student | growth | operators | moe surgeries | training huggingface | chain distributed exploration rl"
    " | contracts demo experiments | cli __init__ | __main__"
)
FLOOR = {room: n for n, floor in enumerate(ORDER.split("|")) for room in floor.split()}
FILES_OF_THE_ROOT = {"__init__.py", "__main__.py", "_version.py", "errors.py"}


def imported(file: Path, root: Path = ROOT) -> Iterator[tuple[str, ...]]:
    """What a file imports of the library, as paths of modules: also inside functions and under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == root.name:
            tail = (node.module or "").split(".")[1:]
            for name in node.names:
                inner = [*tail, name.name]
                path = root.joinpath(*inner)
                is_module = path.with_suffix(".py").exists() or path.is_dir()
                yield tuple(inner) if is_module else tuple(tail) or ("__init__",)
        elif isinstance(node, ast.Import):
            for name in node.names:
                parts = name.name.split(".")
                if parts[0] == root.name:
                    yield tuple(parts[1:]) or ("__init__",)


def run_up(root: Path = ROOT) -> list[str]:
    """Imports that go to a room that doesn't stand below."""
    wrong = []
    for file in root.rglob("*.py"):
        own = file.relative_to(root).with_suffix("").parts[0]
        for target in imported(file, root):
            if target[0] != own and FLOOR.get(target[0], 99) >= FLOOR.get(own, 0):
                wrong.append(f"{file.relative_to(root)} -> {'.'.join(target)}")
    return wrong


def reached_into(root: Path = ROOT) -> list[str]:
    """Imports of another room's private file: what a room gives to others stands in its `__init__`."""
    wrong = []
    for file in root.rglob("*.py"):
        own = file.relative_to(root).with_suffix("").parts[0]
        for target in imported(file, root):
            if target[0] != own and len(target) > 1 and target[1].startswith("_"):
                wrong.append(f"{file.relative_to(root)} -> {'.'.join(target)}")
    return wrong


def circle(root: Path = ROOT) -> list[str]:
    """A circle of files, if there is one; the `__init__` of a room only hands names on."""
    graph: dict[str, set[str]] = {}
    for file in root.rglob("*.py"):
        if file.name != "__init__.py":
            own = ".".join(file.relative_to(root).with_suffix("").parts)
            graph[own] = {name for target in imported(file, root) if (name := ".".join(target)) != own}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_runs_up() -> None:
    assert not run_up()


def test_rooms_are_entered_by_the_door() -> None:
    assert not reached_into()


def test_no_circle_of_files() -> None:
    assert not circle()


def test_the_root_holds_four_files() -> None:
    assert {p.name for p in ROOT.glob("*.py")} == FILES_OF_THE_ROOT
    assert {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.glob("*.py"))} <= FLOOR.keys()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("plan/_new.py", "def f():\n    from net2net.growth import Growth\n"),
        ("plan/_new.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from net2net import widen\n"),
        ("apply/_new.py", "import net2net.proof\n"),
    ],
)
def test_an_import_that_runs_up_is_seen(tmp_path: Path, name: str, source: str) -> None:
    file = tmp_path / "net2net" / name
    file.parent.mkdir(parents=True)
    file.write_text(source)
    assert len(run_up(tmp_path / "net2net")) == 1


def test_a_circle_through_a_function_is_seen(tmp_path: Path) -> None:
    room = tmp_path / "net2net" / "plan"
    room.mkdir(parents=True)
    (room / "_a.py").write_text("from net2net.plan._b import b\na = 1\n")
    (room / "_b.py").write_text("def b():\n    from net2net.plan._a import a\n    return a\n")
    assert circle(tmp_path / "net2net") and not run_up(tmp_path / "net2net")
