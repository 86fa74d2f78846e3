"""One growth of a checkpoint as it was asked for, what it would take, and its end."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from net2net.analysis import Size
from net2net.depth import DepthOptions
from net2net.errors import GrowthError
from net2net.huggingface._beside import REQUEST, CheckpointGrowth
from net2net.huggingface._folder import Folder
from net2net.huggingface._verify import Trial
from net2net.huggingface._write import JOURNAL, check_disk
from net2net.plan import Plan
from net2net.proof import Verification
from net2net.width import WidthOptions


@dataclass(frozen=True)
class Room:
    """Of the teacher and the student: parameters, bytes of the weights, and bytes of the optimizer's state."""

    parameters: tuple[int, int]
    bytes: tuple[int, int]
    optimizer: tuple[int, int] | None


@dataclass(frozen=True)
class Job:
    """What was asked for. `partial` is the folder to write to until it is whole and gets the `target`'s name, `dtype`
    that of the new weights (None: each its own), `state` the file with the optimizer's state."""

    folder: Folder
    target: Path
    partial: Path
    sizes: Mapping[str, Size]
    options: WidthOptions
    depth: DepthOptions
    trial: Trial
    dtype: torch.dtype | None
    max_shard_bytes: int
    state: Path | None
    dry_run: bool

    def room(self, models: tuple[nn.Module, nn.Module], length: int) -> Room:
        """What is going to be read and written, where the disk has room for it.

        Args:
            models: teacher and student; their weights may be on the meta device.
            length: bytes of the student's weights.

        Raises:
            CheckpointError: the disk is too small.
        """
        before, after = (sum(t.numel() for t in model.parameters()) for model in models)
        size = None if self.state is None else self.state.stat().st_size
        states = None if size is None else (size, size * after // before)
        check_disk(self.partial, length + (0 if states is None else states[1]))
        return Room((before, after), (self.folder.bytes(), length), states)

    def found(self, plan: Plan, room: Room, memory: int, in_memory: str | None = None) -> CheckpointGrowth:
        """What the caller gets, but for the proof."""
        return CheckpointGrowth(self.target, plan, room.parameters, room.bytes, memory, None, room.optimizer, in_memory)

    @contextlib.contextmanager
    def begun_anew(self) -> Iterator[None]:
        """The folder to write to, empty; where something is refused meanwhile, it goes."""
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        (self.partial / REQUEST).write_text("null\n")  # no request: such a run starts anew
        try:
            yield
        except GrowthError:
            shutil.rmtree(self.partial)
            raise

    def finish(self, found: CheckpointGrowth, proof: Verification) -> CheckpointGrowth:
        """Say in the folder what was done and measured, and give it its name: it is whole."""
        found = replace(found, verification=proof)
        (self.partial / "growth.json").write_text(json.dumps(found.summary(), indent=2) + "\n")
        for name in (JOURNAL, REQUEST):
            (self.partial / name).unlink(missing_ok=True)
        self.partial.rename(self.target)
        return found
