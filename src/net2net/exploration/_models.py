"""Trained networks in a folder, by what they hold; the worst ones go when there are too many."""

from __future__ import annotations

import copy
import hashlib
import shutil
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import safetensors.torch
import torch

from net2net.capture import Inputs
from net2net.errors import OptionError
from net2net.exploration._grown import Grown, restart
from net2net.exploration._space import Architecture
from net2net.operators import replay
from net2net.plan import Plan

MODEL, PLAN, OPTIMIZER = "model.safetensors", "plan.safetensors", "optimizer.pt"
# So many networks stay in memory beside the folder, so that they needn't be made anew from their plans.
_IN_MEMORY = 4
_ABANDONED = 3600  # seconds


@dataclass(frozen=True, eq=False)
class Models:
    """The networks that trials have trained. `root` is the teacher with its optimizer; `folder` is made when needed."""

    root: Grown
    inputs: Inputs
    folder: Path
    _recent: OrderedDict[str, Grown] = field(default_factory=OrderedDict, repr=False)

    def save(self, trained: Grown, announce: Callable[[str], None]) -> None:
        """Write a network; its name is the start of the hash of its weights and its plan.

        `announce` is told the name before anything has it, so that no other worker takes the network for a spare one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".", dir=self.folder))
        safetensors.torch.save_model(trained.model, str(partial / MODEL))
        if trained.plan is not None:
            trained.plan.save(partial / PLAN)
        torch.save(trained.optimizer.state_dict(), partial / OPTIMIZER)
        digest = hashlib.sha256()
        for name in (MODEL, PLAN):
            digest.update((partial / name).read_bytes() if (partial / name).exists() else b"")
        key = digest.hexdigest()[:16]
        announce(key)
        if self.has(key):
            shutil.rmtree(partial)
        else:
            partial.chmod(0o755)
            partial.rename(self.folder / key)
        self._remember(key, trained)

    def has(self, key: str) -> bool:
        """Whether a network is still there."""
        return (self.folder / key / MODEL).is_file()

    def load(self, key: str, architecture: Architecture) -> Grown:
        """A copy of a network, with its optimizer, whose options are the teacher's; the root without a key.

        Raises:
            OptionError: its files are gone.
        """
        if not key:
            found = self.root
        elif key in self._recent:
            found = self._recent[key]
        else:
            found = self._read(self.folder / key, architecture)
            self._remember(key, found)
        model, optimizer = copy.deepcopy((found.model, found.optimizer))
        restart(optimizer, self.root.optimizer)
        return Grown(model, optimizer, architecture, found.plan, found.moved)

    def keep(self, keys: Iterable[str]) -> None:
        """Delete all networks but these, and what killed workers have left half written."""
        kept = set(keys)
        for path in self.folder.glob(".*") if self.folder.exists() else ():
            if path.stat().st_mtime < time.time() - _ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob("[0-9a-f]*") if self.folder.exists() else ():
            if path.name not in kept:
                shutil.rmtree(path, ignore_errors=True)
                self._recent.pop(path.name, None)

    def _read(self, folder: Path, architecture: Architecture) -> Grown:
        root = self.root
        model, optimizer = copy.deepcopy((root.model, root.optimizer))
        plan: Plan | None = None
        moved: Mapping[str, str] = {}
        try:
            if (folder / PLAN).exists():
                plan = Plan.load(folder / PLAN)
                growth = replay(plan, root.model, self.inputs)
                model, optimizer, moved = growth.student, growth.optimizer(root.optimizer, ramp=0), growth.known.moved
            safetensors.torch.load_model(model, str(folder / MODEL))
            optimizer.load_state_dict(torch.load(folder / OPTIMIZER, weights_only=True, map_location="cpu"))
        except OSError as error:
            raise OptionError(f"the network in {folder} can't be read: {error}") from error
        return Grown(model, optimizer, architecture, plan, moved)

    def _remember(self, key: str, one: Grown) -> None:
        self._recent[key] = one
        while len(self._recent) > _IN_MEMORY:
            self._recent.popitem(last=False)
