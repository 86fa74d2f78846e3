"""The optimizer's state beside a checkpoint: grown along the same plan, in the format that it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from net2net.apply import RAMP_KEY
from net2net.apply._moments import KINDS, grow_moment
from net2net.apply._optimizer_rules import rules_for_keys
from net2net.errors import CheckpointError
from net2net.huggingface._folder import NAMES
from net2net.huggingface._write import Slot, layout, write
from net2net.plan import Plan

# What the Trainer keeps beside the optimizer's state, and a resumed run reads unchanged.
RUN_FILES = ("trainer_state.json", "scheduler.pt", "scaler.pt", "rng_state*.pth")


def grow_optimizer_file(file: Path, folder: Path, plan: Plan, teacher: nn.Module, student: nn.Module) -> None:
    """Write the student's optimizer state into a folder, under the file's own name.

    A `.pt` file is what `torch.save(optimizer.state_dict(), file)` wrote, as the Trainer does; it is grown in memory. A
    `.safetensors` file names each tensor as torch.distributed.checkpoint does, `state.<parameter>.<key>` or
    `<parameter>.<key>`; it is grown in a stream.

    Args:
        file: the teacher's state.
        folder: where the new file goes.
        plan: the growth, with a plan for every tensor of the student.
        teacher, student: the two models; their weights may be on the meta device.

    Raises:
        CheckpointError: the file is damaged, or it isn't clear what belongs to which parameter.
    """
    if file.suffix == ".safetensors":
        _stream(file, folder, plan, teacher, student)
        return
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
        groups, states = saved["param_groups"], saved["state"]
    except Exception as error:  # whatever a damaged or a hostile file makes torch say
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{file.name} is no optimizer state that can be loaded safely: {reason}") from error
    names = _names(groups, teacher, file)
    numbers = {name: number for number, name in names.items()}
    sources = _sources(plan, student)
    order = {name: place for place, name in enumerate(n for n, _ in teacher.named_parameters())}
    result: dict[str, Any] = {"state": {}, "param_groups": []}
    count = 0
    for group in groups:
        own = [names[number] for number in group["params"]]
        mine = [name for name, source in sources.items() if source in own]
        if [order[n] for n in own] != sorted(order[n] for n in own):
            mine.sort(key=lambda name: own.index(sources[name]))
        for number, name in enumerate(mine, start=count):
            state = states.get(numbers[sources[name]])
            if state:
                kept = {key: value for key, value in state.items() if value is not None}
                _check(kept, sources[name], teacher, file)
                result["state"][number] = dict(_grown(kept, plan, name))
        new = {**group, "params": list(range(count, count + len(mine))), RAMP_KEY: 0}
        result["param_groups"].append(new | ({"param_names": mine} if "param_names" in group else {}))
        count += len(mine)
    torch.save(result, folder / file.name)


def _names(groups: Sequence[Mapping[str, Any]], teacher: nn.Module, file: Path) -> dict[int, str]:
    """Which parameter each number in a saved state stands for."""
    known = [name for name, _ in teacher.named_parameters()]
    numbers = [list(group["params"]) for group in groups]
    lists: list[list[str]]
    if all("param_names" in group for group in groups):
        lists = [list(group["param_names"]) for group in groups]
    elif len(groups) == 1:
        lists = [known]
    else:
        from transformers import Trainer

        decayed = set(Trainer.get_decay_parameter_names(None, teacher))  # type: ignore[arg-type]
        lists = [[n for n in known if n in decayed], [n for n in known if n not in decayed]]
    if list(map(len, numbers)) != list(map(len, lists)) or not {n for some in lists for n in some} <= set(known):
        raise CheckpointError(
            f"{file.name} holds {list(map(len, numbers))} parameters in its groups, and which ones isn't clear. Make "
            "the optimizer with model.named_parameters(): their names are saved then."
        )
    return {number: name for a, b in zip(numbers, lists, strict=True) for number, name in zip(a, b, strict=True)}


def _sources(plan: Plan, student: nn.Module) -> dict[str, str]:
    """For each parameter of the student the one of the teacher that it comes from."""
    return {name: plan.tensors[name].source or name for name, _ in student.named_parameters() if name in plan.tensors}


def _check(state: Mapping[str, Any], name: str, teacher: nn.Module, file: Path) -> None:
    shape = teacher.get_parameter(name).shape
    for key, value in state.items():
        if (
            isinstance(value, torch.Tensor)
            and value.dim()
            and key not in ("row_var", "col_var")
            and value.shape != shape
        ):
            raise CheckpointError(
                f"{file.name} has a {key} of {list(value.shape)} for '{name}', which is {list(shape)}: it belongs to "
                "another model, or its parameters are in another order."
            )


def _grown(state: Mapping[str, Any], plan: Plan, name: str) -> Iterator[tuple[str, Any]]:
    rules = rules_for_keys(state.keys())
    step = plan.tensors[name]

    def grow(tensor: torch.Tensor, kind: str) -> torch.Tensor:
        return grow_moment(tensor, (step,), KINDS[kind])

    with torch.no_grad():
        for key, value in state.items():
            rule = rules.state[key]
            if callable(rule):
                yield key, rule(state, grow)
            elif rule == "same" or not isinstance(value, torch.Tensor):
                yield key, value.clone() if isinstance(value, torch.Tensor) else value
            else:
                yield key, grow(value, rule)


def _stream(file: Path, folder: Path, plan: Plan, teacher: nn.Module, student: nn.Module) -> None:
    sources = _sources(plan, student)
    try:
        with safe_open(str(file), framework="pt", backend="pread") as handle:
            found = _by_parameter(list(handle.keys()), teacher, file)
            wanted, made, dtypes = {}, {}, {name: dtype for dtype, name in NAMES.items()}
            for name, source in sources.items():
                for key, full in found.get(source, {}).items():
                    tensor = handle.get_slice(full)
                    shape, rule = tuple(tensor.get_shape()), rules_for_keys(found[source].keys()).state[key]
                    if not isinstance(rule, str):
                        raise CheckpointError(
                            f"'{full}' in {file.name} is kept in factors: give the state as a .pt file."
                        )
                    grows = bool(shape) and rule != "same"
                    if grows:
                        _check({key: torch.empty(shape, device="meta")}, source, teacher, file)
                    new = full.replace(source, name, 1)
                    wanted[new] = (plan.tensors[name].shape if grows else shape, dtypes[tensor.get_dtype()])
                    made[new] = (full, plan.tensors[name], rule if grows else None)

            def make(slot: Slot) -> Iterator[torch.Tensor]:
                full, step, rule = made[slot.name]
                with safe_open(str(file), framework="pt", backend="pread") as own:  # threads don't share a handle
                    tensor = own.get_tensor(full)
                yield tensor if rule is None else grow_moment(tensor, (step,), KINDS[rule])

            slots = [replace(slot, file=file.name) for slot in layout(wanted, 2**62)]
            write(folder, slots, make, lambda count: None)
    except (SafetensorError, OSError, KeyError) as error:
        raise CheckpointError(f"{file.name} is damaged, or no optimizer state: {error}.") from error


def _by_parameter(names: Sequence[str], teacher: nn.Module, file: Path) -> dict[str, dict[str, str]]:
    """The names of the stored tensors, by parameter and key."""
    parameters = {name for name, _ in teacher.named_parameters()}
    found: dict[str, dict[str, str]] = {}
    for full in names:
        name, _, key = full.removeprefix("state.").rpartition(".")
        if name not in parameters:
            raise CheckpointError(f"'{full}' in {file.name} is of no parameter of {type(teacher).__name__}.")
        found.setdefault(name, {})[key] = full
    return found
