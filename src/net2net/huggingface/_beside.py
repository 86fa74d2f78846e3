"""What is written beside the weights: the plan, a model card, a summary; and what the caller gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net2net.growth import LogEntry, append
from net2net.huggingface._card import card
from net2net.huggingface._folder import is_own
from net2net.huggingface._optimizer import RUN_FILES
from net2net.huggingface._write import JOURNAL, readable
from net2net.plan import Plan
from net2net.proof import Verification

# What a folder holds beside weights and config, and a bigger model uses unchanged.
EXTRA_FILES = (
    "tokenizer*", "vocab*", "merges.txt", "*.model", "*.spm", "special_tokens_map.json", "added_tokens.json",
    "chat_template*", "additional_chat_templates/*.jinja", "*processor_config.json", "generation_config.json",
)  # fmt: skip
# What an unfinished folder was asked for: the same request goes on where it was, another one starts anew.
REQUEST = "request.json"
PLAN_FILE = "net2net-plan.safetensors"
SUMS_FILE = "checksums.json"
CARD = "README.md"
_WRITTEN = {PLAN_FILE: "says where every entry comes from", SUMS_FILE: "has the CRC-32 of every tensor"}
# Texts of a source that are no longer true of the student, or are written anew: of its weights, its config, its run.
_LEFT_OUT = (
    ".*", CARD, "config.json", "*.index.json", "adapter_*", SUMS_FILE, "growth.json", REQUEST, JOURNAL, *RUN_FILES,
)  # fmt: skip
_MOST_TEXT = 10 * 2**20


@dataclass(frozen=True)
class CheckpointGrowth:
    """A checkpoint that was grown, or that would be.

    `parameters` and `bytes` are the teacher's and the student's; `memory` is about how many bytes writing and proving
    take beside what Python, torch and transformers take themselves; `verification` is None for a dry run. `optimizer`
    is the size of the file with the optimizer's state, the teacher's and about the student's, where it grows too.
    `in_memory` says why it wasn't streamed, where it wasn't.
    """

    target: Path
    plan: Plan
    parameters: tuple[int, int]
    bytes: tuple[int, int]
    memory: int
    verification: Verification | None
    optimizer: tuple[int, int] | None = None
    in_memory: str | None = None

    def summary(self) -> dict[str, Any]:
        """What was done and measured, as JSON: what is in growth.json."""
        proof = self.verification
        return {
            "version": self.plan.version,
            **self.plan.summary(),
            "verification": proof.summary() if proof else None,
            "parameters": list(self.parameters),
            "bytes": list(self.bytes),
            "memory": self.memory,
            "in_memory": self.in_memory,
            "optimizer": None if self.optimizer is None else list(self.optimizer),
        }

    def log(self, path: str | Path, *, step: int | None = None, change: str | None = None) -> LogEntry:
        """Add this growth to a log, as `Growth.log`."""
        return append(path, self.plan, self.parameters, step, change)

    def __str__(self) -> str:
        (before, after), (small, large) = self.parameters, self.bytes
        lines = [
            str(self.plan),
            "",
            f"parameters: {before:,} -> {after:,}",
            f"weights: {readable(small)} -> {readable(large)} at {self.target}",
        ]
        if self.optimizer is not None:
            first, second = self.optimizer
            lines.append(f"optimizer: {readable(first)} -> about {readable(second)}")
        if self.in_memory is not None:
            lines.append(f"grown in memory as a whole: {self.in_memory}")
        lines += [
            f"memory for it: about {readable(self.memory)} beside torch and transformers",
            str(self.verification) if self.verification else "nothing was written",
        ]
        return "\n".join(lines)


def complete(partial: Path, source: Path, plan: Plan, sums: Mapping[str, str], run: bool = False) -> None:
    """Add what a folder has beside weights and config: the files of its tokenizer, small texts, its card, the plan,
    checksums; and what a `run` needs to go on."""
    extra = EXTRA_FILES + RUN_FILES if run else EXTRA_FILES
    for file in sorted({*_texts(source), *(file for pattern in extra for file in source.glob(pattern))}):
        if file.is_file() and is_own(file):
            copy = partial / file.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
    plan.save(partial / PLAN_FILE)
    (partial / SUMS_FILE).write_text(json.dumps(sums, indent=2) + "\n")
    (partial / CARD).write_text(card(plan, source, _text(source / CARD), _WRITTEN), encoding="utf-8")


def _texts(folder: Path) -> Iterator[Path]:
    """The small texts of a folder, such as its licence, that nothing here writes anew or leaves out."""
    for file in folder.iterdir():
        if not any(file.match(pattern) for pattern in _LEFT_OUT) and _text(file) is not None:
            yield file


def _text(file: Path) -> str | None:
    """What is in a small file of text; None for any other."""
    if not file.is_file() or not is_own(file) or file.stat().st_size > _MOST_TEXT:
        return None
    try:
        text = file.read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text.replace("\r\n", "\n")
