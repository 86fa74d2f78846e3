"""The optimizer's state beside a checkpoint: grown along the same plan, in the format that it has."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from net2net.errors import CheckpointError
from net2net.huggingface._folder import NAMES, is_own
from net2net.huggingface._write import Slot, layout, write
from net2net.optimizer import KINDS, RAMP_KEY, StateRule, carried, followed, grow_moment, rules_for_keys
from net2net.plan import Plan, TensorPlan

# What the Trainer keeps beside the optimizer's state, and a resumed run reads unchanged.
RUN_FILES = ("trainer_state.json", "scheduler.pt", "scaler.pt", "rng_state*.pth")
_PICKLED = (".pt", ".pth", ".bin")
# Writes the student's state into a folder, under the name that the teacher's file has.
Writer = Callable[[Path], None]


@dataclass(frozen=True)
class _Member:
    """A parameter of the student: the teacher's that it comes from, that one's shape, and what happens on the way."""

    source: str
    shape: tuple[int, ...]
    steps: tuple[TensorPlan, ...]


def state_file(folder: Path, name: str) -> Path:
    """The file of a folder with the optimizer's state.

    Raises:
        CheckpointError: it isn't in the folder, or of no format that can hold a state.
    """
    file = folder / name
    if file.parent != folder or not file.is_file() or not is_own(file):
        raise CheckpointError(f"there is no file {name} in {folder}.")
    if file.suffix not in (*_PICKLED, ".safetensors"):
        raise CheckpointError(
            f"{name} is not an optimizer state: it ends in none of {', '.join(_PICKLED)}, .safetensors."
        )
    return file


def optimizer_writer(file: Path, plan: Plan, teacher: nn.Module, student: nn.Module) -> Writer:
    """Check the teacher's optimizer state, and give back what writes the student's.

    A `.pt` file is what `torch.save(optimizer.state_dict(), file)` wrote, as the Trainer does; it is grown in memory. A
    `.safetensors` file names each tensor as torch.distributed.checkpoint does, `state.<parameter>.<key>` or
    `<parameter>.<key>`; it is grown tensor by tensor.

    Args:
        file: the teacher's state.
        plan: the growth.
        teacher, student: the two models; their weights may be on the meta device.

    Raises:
        CheckpointError: the file is damaged, or it isn't clear what belongs to which parameter.
        OptionError: it is of an optimizer that isn't known.
    """
    names = {parameter: name for name, parameter in teacher.named_parameters()}
    members = {
        m.name: _Member(names[m.source], tuple(m.source.shape), m.steps) for m in followed(plan, teacher, student)
    }
    return _writer(file, members, teacher)


def check_state(file: Path, teacher: nn.Module) -> None:
    """Check that the file holds the state of the teacher's optimizer, before anything is planned.

    Raises:
        CheckpointError, OptionError: as for `optimizer_writer`.
    """
    members = {name: _Member(name, tuple(parameter.shape), ()) for name, parameter in teacher.named_parameters()}
    _writer(file, members, teacher)


def _writer(file: Path, members: Mapping[str, _Member], teacher: nn.Module) -> Writer:
    return _tensors(file, members, teacher) if file.suffix == ".safetensors" else _pickle(file, members, teacher)


def _pickle(file: Path, members: Mapping[str, _Member], teacher: nn.Module) -> Writer:
    groups, states = _loaded(file)
    numbers = _numbers(groups, teacher, file)
    for member in members.values():
        _rules(states.get(numbers.get(member.source), {}), member, file)

    @torch.no_grad()
    def state_dict() -> dict[str, Any]:
        order = {name: place for place, (name, _) in enumerate(teacher.named_parameters())}
        result: dict[str, Any] = {"state": {}, "param_groups": []}
        count = 0
        for group in groups:
            place = {number: k for k, number in enumerate(group["params"])}
            own = {name: place[number] for name, number in numbers.items() if number in place}
            mine = [name for name, member in members.items() if member.source in own]
            if sorted(own, key=order.__getitem__) != sorted(own, key=own.__getitem__):  # its user's own order
                mine.sort(key=lambda name: own[members[name].source])
            for number, name in enumerate(mine, start=count):
                state = states.get(numbers[members[name].source])
                if state:
                    result["state"][number] = _grown(state, members[name], file)
            # the moments are made for the full rate: no ramp, of this growth or of one before it, is to go on
            new = {key: value for key, value in group.items() if key != RAMP_KEY}
            new["params"] = list(range(count, count + len(mine)))
            result["param_groups"].append(new | ({"param_names": mine} if "param_names" in group else {}))
            count += len(mine)
        return result

    def write_file(folder: Path) -> None:
        path = folder / file.name
        if path.exists():  # an earlier run has finished it
            return
        partial = path.with_name(f"{file.name}.new")
        with open(partial, "wb") as stream:
            torch.save(state_dict(), stream)
            stream.flush()
            os.fsync(stream.fileno())
        partial.rename(path)

    return write_file


def _loaded(file: Path) -> tuple[list[dict[str, Any]], dict[Any, dict[str, Any]]]:
    """The groups, and what is kept for each parameter. Tensors stay in the file until they are used."""
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever a damaged or a hostile file makes torch say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file.name} is not an optimizer state that can be loaded safely: {reason}") from error
    groups, states = (saved.get(key) if isinstance(saved, dict) else None for key in ("param_groups", "state"))
    if not (
        isinstance(groups, list)
        and isinstance(states, dict)
        and all(isinstance(s, dict) for s in states.values())
        and all(isinstance(g, dict) and _are(g.get("params"), int) for g in groups)
    ):
        raise CheckpointError(f"{file.name} is not a state_dict of an optimizer: its groups or its state are missing.")
    return groups, {n: {k: v for k, v in s.items() if v is not None} for n, s in states.items()}


def _are(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)


def _numbers(groups: Sequence[Mapping[str, Any]], teacher: nn.Module, file: Path) -> dict[str, int]:
    """Which number stands for each parameter in a saved state."""
    known = [name for name, _ in teacher.named_parameters()]
    lists: list[list[str]]
    if all(_are(group.get("param_names"), str) for group in groups):
        lists = [group["param_names"] for group in groups]
    elif len(groups) == 1:
        lists = [known]
    else:
        from transformers import Trainer

        decayed = set(Trainer.get_decay_parameter_names(None, teacher))  # type: ignore[arg-type]  # it reads nothing of self
        lists = [[n for n in known if n in decayed], [n for n in known if n not in decayed]]
    names, numbers = [n for some in lists for n in some], [n for group in groups for n in group["params"]]
    lengths = [len(group["params"]) for group in groups]
    fits = lengths == list(map(len, lists)) and set(names) <= set(known)
    if not fits or not len(set(names)) == len(names) == len(set(numbers)):
        raise CheckpointError(
            f"{file.name} holds {lengths} parameters in its groups, and which ones isn't clear. Make the optimizer "
            "with model.named_parameters(): their names are saved then."
        )
    return dict(zip(names, numbers, strict=True))


def _rules(state: Mapping[str, Any], member: _Member, file: Path) -> Mapping[str, StateRule]:
    """What each thing is that is kept for a parameter; it must fit the parameter."""
    rules = rules_for_keys(state.keys()).state
    for key, value in state.items():
        rule = rules[key]
        if rule == "weight":
            raise CheckpointError(
                f"'{key}' in {file.name} is a mean of weights, which grows with the weights only: growth.optimizer "
                "does that in memory."
            )
        if isinstance(rule, str) and rule != "same":
            _check(key, value, member, file)
    return rules


def _check(key: str, value: Any, member: _Member, file: Path) -> None:
    shape = tuple(value.shape) if isinstance(value, torch.Tensor) else None
    if shape != member.shape:
        found = type(value).__name__ if shape is None else list(shape)
        raise CheckpointError(
            f"{file.name} has a {key} of {found} for '{member.source}', which is {list(member.shape)}: it belongs to "
            "another model, or its parameters are in another order."
        )


def _grown(state: Mapping[str, Any], member: _Member, file: Path) -> dict[str, Any]:
    rules = _rules(state, member, file)

    def grow(tensor: torch.Tensor, kind: str) -> torch.Tensor:
        _check(kind, tensor, member, file)
        return grow_moment(tensor, member.steps, KINDS[kind])

    try:
        return dict(carried(state, rules, grow))
    except (RuntimeError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise CheckpointError(
            f"the state of '{member.source}' in {file.name} ({', '.join(state)}) is damaged: {error}"
        ) from error


def _tensors(file: Path, members: Mapping[str, _Member], teacher: nn.Module) -> Writer:
    made: dict[str, tuple[str, _Member, str]] = {}
    wanted: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
    dtypes = {name: dtype for dtype, name in NAMES.items()}
    try:
        with safe_open(str(file), framework="pt", backend="pread") as handle:
            found = _by_parameter(list(handle.keys()), teacher, file)
            for name, member in members.items():
                slices = {key: handle.get_slice(full) for key, full in found.get(member.source, {}).items()}
                state = {
                    key: torch.empty(part.get_shape(), dtype=dtypes[part.get_dtype()], device="meta")
                    for key, part in slices.items()
                }
                rules = _rules(state, member, file)
                for key, value in state.items():
                    full, rule = found[member.source][key], rules[key]
                    if not isinstance(rule, str):
                        raise CheckpointError(
                            f"'{full}' in {file.name} is kept in factors: give the state as a .pt file."
                        )
                    new = full.removesuffix(f"{member.source}.{key}") + f"{name}.{key}"
                    shape = member.shape if rule == "same" or not member.steps else member.steps[-1].shape
                    wanted[new] = (tuple(value.shape) if rule == "same" else shape, value.dtype)
                    made[new] = (full, member, rule)
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{file.name} is damaged, or no optimizer state: {error}.") from error

    def make(slot: Slot) -> Iterator[torch.Tensor]:
        full, member, rule = made[slot.name]
        with safe_open(str(file), framework="pt", backend="pread") as own:  # threads don't share a handle
            tensor = own.get_tensor(full)
        yield tensor if rule == "same" else grow_moment(tensor, member.steps, KINDS[rule])

    slots = [replace(slot, file=file.name) for slot in layout(wanted, 2**62)]

    def write_file(folder: Path) -> None:
        write(folder, slots, make, lambda count: None)

    return write_file


def _by_parameter(names: Sequence[str], teacher: nn.Module, file: Path) -> dict[str, dict[str, str]]:
    """The names of the stored tensors, by parameter and key."""
    parameters = {name for name, _ in teacher.named_parameters()}
    found: dict[str, dict[str, str]] = {}
    for full in names:
        name, _, key = full.removeprefix("state.").rpartition(".")
        if name not in parameters:
            raise CheckpointError(f"'{full}' in {file.name} is of no parameter of {type(teacher).__name__}.")
        if found.setdefault(name, {}).setdefault(key, full) != full:
            raise CheckpointError(f"{file.name} holds the {key} of '{name}' twice.")
    return found
