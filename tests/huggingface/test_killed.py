"""A growth killed at many moments and started again: byte for byte what an undisturbed one writes, or nothing."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

KILLS = 50
# Imports once, and forks a process for each run: it says its number, and how it ended.
SERVER = """
import os, sys
import torch, transformers, net2net
torch.set_num_threads(1)
for line in iter(sys.stdin.readline, ""):
    child = os.fork()
    if not child:
        os.dup2(2, 1)
        sizes = {"hidden_size": "2x", "intermediate_size": "2x", "num_hidden_layers": 9}
        net2net.grow_checkpoint(sys.argv[1], line.strip(), sizes, max_shard_size="20MB")
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()  # until then its number is not given to another process
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama of 24 MB, so that planning, writing and the proof take some seconds together."""
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        vocab_size=4000,
        hidden_size=256,
        intermediate_size=700,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        head_dim=64,
    )
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "source", max_shard_size="9MB")
    return tmp_path / "source"


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def written(partial: Path) -> int:
    """When a run last wrote."""
    try:
        return max((file.stat().st_mtime_ns for file in partial.glob("*")), default=0)
    except FileNotFoundError:  # it is just being renamed or removed
        return -1


def phase(partial: Path) -> str:
    """How far a run had come, by what it left."""
    if not partial.exists():
        return "planning"
    return "proof" if (partial / "checksums.json").exists() else "writing"


@pytest.mark.sweep
def test_killed_at_any_moment(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SERVER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None

        def run(target: Path, seconds: float | None, writes: bool = False) -> bool:
            """Grow the folder; kill the process so many seconds after its start, or after it began to write.

            Returns whether it came to its end.
            """
            before, start = written(partial), time.perf_counter()
            print(target, file=server.stdin, flush=True)
            child = int(server.stdout.readline())  # type: ignore[union-attr]
            if seconds is not None:
                while writes and written(partial) == before and time.perf_counter() - start < longest:
                    time.sleep(0.001)
                time.sleep(seconds)
                os.kill(child, signal.SIGKILL)
            print(file=server.stdin, flush=True)
            return int(server.stdout.readline()) == 0  # type: ignore[union-attr]

        target, partial = tmp_path / "killed", tmp_path / ".killed.partial"
        source, longest = digests(folder), 0.0
        start = time.perf_counter()
        assert run(tmp_path / "whole", None)
        longest = span = time.perf_counter() - start
        whole = digests(tmp_path / "whole")
        draw = random.Random(0)
        phases: Counter[str] = Counter()
        rounds = 0
        while sum(phases.values()) < KILLS:
            writes = draw.random() < 0.6
            finished = run(target, draw.random() * span * (0.4 if writes else 1), writes)
            assert target.exists() == finished
            if not finished:
                phases[phase(partial)] += 1
                continue
            assert digests(target) == whole and not partial.exists()
            shutil.rmtree(target)
            rounds += 1
            span *= 0.9  # runs that end before they are killed show nothing: the first one was slow
        if partial.exists():
            assert run(target, None) and digests(target) == whole
        assert digests(folder) == source
        server.stdin.close()
    print(f"{phases} in {rounds} rounds of {longest:.1f} s")
    assert min(phases[p] for p in ("planning", "writing", "proof")) > 0
