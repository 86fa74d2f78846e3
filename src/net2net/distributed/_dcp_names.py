"""What the keys of a checkpoint are: tensors of the model, state of its optimizer, and all else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from net2net.errors import CheckpointError
from net2net.optimizer import lineage
from net2net.plan import Plan

_STATE = re.compile(r"^(?P<before>.*?(?:state|param_groups)\.)(?P<name>.+)\.(?P<entry>\w+)$")


@dataclass(frozen=True)
class Names:
    """The keys of a student's checkpoint.

    `tensors` maps a key to the tensor's name; `states` a key to what is before the parameter's name in it, that name,
    the teacher's, and the entry; `others` are copied from the key they name; `paths` are places in the nested state.
    """

    prefix: str
    tensors: Mapping[str, str]
    states: Mapping[str, tuple[str, str, str, str]]
    others: Mapping[str, str]
    paths: Mapping[str, tuple[Any, ...]]


def names_of(plan: Plan, metadata: Metadata) -> Names:
    """The keys of the student's checkpoint, from the teacher's and the plan.

    Raises:
        CheckpointError: the plan is for another network.
    """
    stored = metadata.state_dict_metadata
    places: dict[str, Any] = dict(metadata.planner_data or {key: (key,) for key in stored})
    first = plan.steps[0]
    sources = [t.source or name for name, t in first.tensors.items() if not t.new or t.source]
    prefixes = [key.removesuffix(sources[0]) for key in stored if key.endswith(sources[0])]
    prefix = next((p for p in sorted(prefixes, key=len) if all(f"{p}{s}" in stored for s in sources)), None)
    if prefix is None:
        raise CheckpointError(f"the checkpoint has no tensor '{sources[0]}' beside the others that the plan grows.")
    states = {}
    for key in stored:
        match = _STATE.match(key)
        if match and f"{prefix}{match['name']}" in stored:
            states[key] = (match["before"], match["name"], match["entry"])
    teacher = [
        key.removeprefix(prefix)
        for key, kind in stored.items()
        if key.startswith(prefix) and key not in states and isinstance(kind, TensorStorageMetadata)
    ]
    student = teacher
    for step in plan.steps:
        student = list(dict.fromkeys([*(n for n in student if n not in step.removed), *step.tensors]))
    tensors = {f"{prefix}{name}": name for name in student}
    paths = {key: _renamed(places, prefix, name, lineage(plan, name)[0]) for key, name in tensors.items()}
    grown: dict[str, tuple[str, str, str, str]] = {}
    for name in student:
        root = lineage(plan, name)[0]
        for key, (before, source, entry) in states.items():
            if source == root:
                new = f"{before}{name}.{entry}"
                grown[new] = (before, name, root, entry)
                paths[new] = tuple(_swapped(part, root, name) for part in places[key])
    known = {f"{prefix}{name}" for name in teacher} | states.keys()
    others = {key: key for key in stored if key not in known}
    paths |= {key: places[key] for key in others}
    return Names(prefix, tensors, grown, others, paths)


def _renamed(places: Mapping[str, Any], prefix: str, name: str, root: str) -> tuple[Any, ...]:
    return tuple(_swapped(part, root, name) for part in places[f"{prefix}{root}"])


def _swapped(part: Any, root: str, name: str) -> Any:
    """A part of a path, of the student's tensor instead of the teacher's."""
    if not isinstance(part, str):
        return part
    if part == root or part.endswith(f".{root}"):
        return part.removesuffix(root) + name
    return re.sub(rf"^((?:state|param_groups)\.){re.escape(root)}(\.\w+)$", rf"\g<1>{name}\g<2>", part)


def regrouped(value: Any, plan: Plan, student: list[str]) -> Any:
    """Groups of an optimizer that name their parameters, with the student's: each is where what it comes from was."""
    if not isinstance(value, list) or not all(isinstance(group, dict) and "params" in group for group in value):
        return value
    roots = {name: lineage(plan, name)[0] for name in student}
    found = []
    for group in value:
        old = set(group["params"])
        found.append({**group, "params": [name for name in student if roots[name] in old]})
    return found
