"""A checkpoint of torch.distributed.checkpoint grows: files are shared out among ranks, each tensor by itself."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.metadata import Metadata, TensorStorageMetadata

from net2net.apply import grow_one
from net2net.distributed._agree import ranks, together
from net2net.distributed._dcp_files import METADATA, description, finish, read, write
from net2net.distributed._dcp_names import Names, names_of, regrouped
from net2net.errors import CheckpointError, OptionError, StudentMismatchError, require_kind
from net2net.optimizer import KINDS, StateRule, carried, grow_moment, lineage, rules_for_keys
from net2net.plan import Plan

_REQUEST = "request.json"


@dataclass(frozen=True)
class DCPGrowth:
    """What was written: the folder, the plan, and how many bytes of tensors were read from and written to disk."""

    target: Path
    plan: Plan
    bytes: tuple[int, int]


def grow_dcp(source: str | Path, target: str | Path, plan: Plan | str | Path, *, file_bytes: int = 2**30) -> DCPGrowth:
    """Grow a checkpoint folder of torch.distributed.checkpoint, model and optimizer, along a plan.

    However many ranks wrote it and however many call this (one, or all of a process group), the files are the same,
    byte by byte. Each rank holds one tensor and what it is made of at a time. The folder has a name of its own until it
    is whole; what a run that was killed has finished is not done again.

    The plan's proof is that of the growth it is from: the folder's tensors are made as it says, not run.

    Args:
        source: the folder; its keys may be nested (`{"model": ..., "optimizer": ...}`), and name parameters by their
            paths, as `torch.distributed.checkpoint.state_dict.get_state_dict` does.
        target: where the student's checkpoint goes; it must not exist.
        plan: a plan, or the file of one; without entries that layers' own initialisers draw.
        file_bytes: of tensors in a file, at least one.

    Returns:
        What was written; on all ranks.

    Raises:
        CheckpointError: the source can't be read, or the target exists.
        StudentMismatchError: the plan is for a network with other tensors.
        GrowthError: a rank failed; on all ranks.

    Example:
        >>> import net2net, tempfile
        >>> import torch.distributed.checkpoint as dcp
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = dcp.save({"model": teacher.state_dict()}, checkpoint_id=folder / "small", no_dist=True)
        >>> growth = net2net.widen(teacher, {"0": 12}, torch.randn(3, 4))
        >>> _ = net2net.distributed.grow_dcp(folder / "small", folder / "big", growth.plan)
        >>> state = {"model": {n: torch.zeros_like(t) for n, t in growth.student.state_dict().items()}}
        >>> dcp.load(state, checkpoint_id=folder / "big", no_dist=True)
        >>> torch.equal(state["model"]["0.weight"], growth.student[0].weight)
        True
    """
    source, target = Path(source), Path(target)
    partial = target.with_name(f"{target.name}.partial")
    with together("reading the checkpoint"):
        plan = plan if isinstance(plan, Plan) else Plan.load(plan)
        require_kind(file_bytes, int, "file_bytes", "a number of bytes")
        if target.exists():
            raise CheckpointError(f"{target} exists; give a folder that doesn't.")
        if any(step.draws_initial for step in plan.steps):
            raise OptionError("the plan draws as layers' own initialisers do, which needs the model: use grow().")
        job = _Job(source, plan, description(source))
        files = job.files(file_bytes)
    with together("beginning the checkpoint"):
        if _rank() == 0:
            _begin(partial, job.request(file_bytes))
    with together("growing the checkpoint"):
        for number in range(_rank(), len(files), ranks()):
            path = partial / f"__{number}_0.distcp"
            if not path.exists():
                write(path, files[number], job.make)
    with together("finishing the checkpoint"):
        if _rank() == 0:
            indices = [partial / f"__{number}_0.json" for number in range(len(files))]
            places = {key: place for path in indices for key, place in json.loads(path.read_text()).items()}
            finish(partial, places, dict(job.names.paths))
            for path in (*indices, partial / _REQUEST):
                path.unlink()
            partial.rename(target)
    return DCPGrowth(target, plan, job.bytes)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _begin(partial: Path, request: str) -> None:
    """The folder to write to: that of an earlier run if it did the same, else an empty one."""
    file = partial / _REQUEST
    if not file.exists() or file.read_text() != request:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        file.write_text(request)


@dataclass(frozen=True)
class _Job:
    source: Path
    plan: Plan
    metadata: Metadata

    def request(self, file_bytes: int) -> str:
        digest = hashlib.sha256((self.source / METADATA).read_bytes()).hexdigest()
        return json.dumps({"plan": self.plan.fingerprint, "source": digest, "file_bytes": file_bytes})

    @cached_property
    def names(self) -> Names:
        return names_of(self.plan, self.metadata)

    @cached_property
    def ties(self) -> dict[str, str]:
        """Tensors that the plan doesn't name, because they are others that it grows: stored twice, and one in the
        model."""
        prefix, ways = self.names.prefix, {name: lineage(self.plan, name) for name in self.names.tensors.values()}
        grown = {
            name: root
            for name, (root, steps) in ways.items()
            if steps and not any(step.new for step in steps) and steps[-1].shape != self._shape(root)
        }
        found = {}
        for name in (n for n, (_, steps) in ways.items() if not steps and len(self._shape(n)) > 1):
            for other, root in ((o, r) for o, r in grown.items() if self._shape(r) == self._shape(name)):
                mine, theirs = (read(self.source, f"{prefix}{n}", self.metadata) for n in (name, root))
                if torch.equal(mine, theirs) and bool((mine != mine.flatten()[0]).any()):
                    found[name] = other
        return found

    def _shape(self, name: str) -> tuple[int, ...]:
        stored = self.metadata.state_dict_metadata.get(f"{self.names.prefix}{name}")
        return tuple(stored.size) if isinstance(stored, TensorStorageMetadata) else ()

    @cached_property
    def keys(self) -> dict[str, int]:
        """Every key of the student's checkpoint, and about how many bytes it takes."""
        found = {}
        for key, name in self.names.tensors.items():
            found[key] = self._bytes(name, f"{self.names.prefix}{lineage(self.plan, name)[0]}")
        for key, (before, name, root, entry) in self.names.states.items():
            found[key] = self._bytes(name, f"{before}{root}.{entry}")
        return found | dict.fromkeys(self.names.others, 1)

    def _bytes(self, name: str, key: str) -> int:
        stored = self.metadata.state_dict_metadata[key]
        if not isinstance(stored, TensorStorageMetadata) or stored.properties.dtype is None:
            return 1
        step = self.plan.tensors.get(self.ties.get(name, name))
        shape = stored.size if step is None or not stored.size else step.shape
        return math.prod(shape) * stored.properties.dtype.itemsize

    @property
    def bytes(self) -> tuple[int, int]:
        """Of the tensors of teacher and student."""
        tensors = [t for t in self.metadata.state_dict_metadata.values() if isinstance(t, TensorStorageMetadata)]
        before = sum(t.size.numel() * t.properties.dtype.itemsize for t in tensors)
        return before, sum(self.keys.values())

    def files(self, file_bytes: int) -> list[list[str]]:
        """The keys of each file, in their order.

        Raises:
            StudentMismatchError: the plan is for other tensors.
        """
        for name, step in self.plan.steps[0].tensors.items():
            if step.new or step.fill != "source" or step.view is not None:
                continue
            shape = self._shape(step.source or name)
            expected = tuple(s if m is None else m.before for s, m in zip(step.shape, step.axes, strict=True))
            if shape != expected:
                raise StudentMismatchError(
                    f"'{step.source or name}' is {shape} in {self.source}, and the plan is for {expected}."
                )
        found: list[list[str]] = [[]]
        total = 0
        for key, size in self.keys.items():
            if found[-1] and total + size > file_bytes:
                found.append([])
                total = 0
            found[-1].append(key)
            total += size
        return found

    def make(self, key: str) -> Any:
        """What the student's checkpoint has under a key."""
        if key in self.names.others:
            value = read(self.source, self.names.others[key], self.metadata)
            return regrouped(value, self.plan, list(self.names.tensors.values()))
        if key in self.names.tensors:
            name = self.names.tensors[key]
            return grow_one(self.plan, self.ties.get(name, name), _Stored(self))
        before, name, root, entry = self.names.states[key]
        return self._state(self.ties.get(name, name), root, before, entry)

    def _state(self, name: str, root: str, before: str, entry: str) -> Any:
        """One entry of the optimizer's state for a parameter."""
        stored = self.metadata.state_dict_metadata
        entries = [key.removeprefix(f"{before}{root}.") for key in stored if key.startswith(f"{before}{root}.")]
        if before.endswith("param_groups."):
            return read(self.source, f"{before}{root}.{entry}", self.metadata)
        rules: Mapping[str, StateRule] = rules_for_keys(entries).state
        steps = lineage(self.plan, name)[1]
        state = {e: read(self.source, f"{before}{root}.{e}", self.metadata) for e in entries if e == entry}
        if callable(rules[entry]):
            state = {e: read(self.source, f"{before}{root}.{e}", self.metadata) for e in entries}

        def grow(tensor: torch.Tensor, kind: str) -> torch.Tensor:
            if kind == "weight":
                behind = tensor - _Stored(self)[root]
                return grow_moment(behind, steps, KINDS[kind]) + grow_one(self.plan, name, _Stored(self))
            return grow_moment(tensor, steps, KINDS[kind])

        with torch.no_grad():
            return dict(carried({entry: state[entry], **state}, {**rules}, grow))[entry]


class _Stored(Mapping[str, torch.Tensor]):
    """The teacher's tensors by name, each read when it is asked for."""

    def __init__(self, job: _Job) -> None:
        self.job = job

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = read(self.job.source, f"{self.job.names.prefix}{name}", self.job.metadata)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.job.names.tensors.values())

    def __len__(self) -> int:
        return len(self.job.names.tensors)
