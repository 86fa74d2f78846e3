"""A growth of a model that is sharded over processes: its memory, its time against a copy.

A Llama of some 33 million parameters with AdamW, sharded by `fully_shard`, gets twice as wide in its feed-forward
layers, on 1, 2 and 4 processes of this machine (gloo). Memory is what a rank's anonymous pages are at most beyond what
they were before; freed blocks are given back at once (MALLOC_MMAP_THRESHOLD_), which the C library else keeps. Nothing
is asserted.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as mp
from rich.console import Console
from rich.table import Table
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.fsdp import fully_shard

import net2net

MB = 1e6
STATES = 3  # a parameter and two moments


def llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8, vocab_size=8000,
        tie_word_embeddings=False,
    )  # fmt: skip
    torch.manual_seed(0)
    return LlamaForCausalLM(config)


class Memory(threading.Thread):
    """The largest number of bytes in anonymous pages since it was made, beyond those at that time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.before = self.most = self._now()
        self.running = True
        self.start()

    @staticmethod
    def _now() -> int:
        line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("RssAnon"))
        return int(line.split()[1]) * 1024

    def run(self) -> None:
        while self.running:
            self.most = max(self.most, self._now())
            time.sleep(0.005)

    def stop(self) -> int:
        self.running = False
        self.join()
        return self.most - self.before


def sharded(folder: Path) -> dict[str, float]:
    """One rank's part: train a step, save, grow, grow the checkpoint, copy it."""
    model, ranks = llama(), dist.get_world_size()
    for layer in model.model.layers:
        fully_shard(layer)
    fully_shard(model)
    optimizer = torch.optim.AdamW(model.parameters())
    ids = torch.randint(0, 8000, (1, 16))
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    weights, moments = get_state_dict(model, optimizer)
    dcp.save({"model": weights, "optimizer": moments}, checkpoint_id=folder / "teacher")
    del weights, moments
    memory, start = Memory(), time.perf_counter()
    request = {"sizes": {"model.layers.*.mlp.up_proj": 2.0}}
    growth = net2net.distributed.grow(model, request, {"input_ids": ids}, optimizer=optimizer)
    seconds, peak = time.perf_counter() - start, memory.stop()
    student = growth.student
    whole = [p.numel() * p.element_size() for p in student.parameters()]
    largest = max(whole) + max(p.numel() * p.element_size() for p in model.parameters())
    start = time.perf_counter()
    net2net.distributed.grow_dcp(folder / "teacher", folder / "student", growth.plan)
    dist.barrier()
    grown = time.perf_counter() - start
    files = sorted(path for path in (folder / "student").rglob("*") if path.is_file())
    if dist.get_rank() == 0:
        (folder / "copy").mkdir()
    dist.barrier()
    start = time.perf_counter()
    for path in files[dist.get_rank() :: ranks]:
        shutil.copyfile(path, folder / "copy" / path.name)
    dist.barrier()
    copied = time.perf_counter() - start
    return {
        "shards": STATES * sum(whole) / ranks,
        "largest": largest,
        "peak": peak,
        "seconds": seconds,
        "grown": grown,
        "copied": copied,
        "bytes": sum(path.stat().st_size for path in files),
    }


def _rank(rank: int, count: int, folder: Path, work: Callable[[Path], Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=count,
        timeout=datetime.timedelta(minutes=10),
    )
    result = work(folder)
    every: list[Any] = [None] * count
    dist.all_gather_object(every, result)
    if rank == 0:
        torch.save(every, folder / "results.pt")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # for the processes to come
    table = Table(
        "ranks", "student's shards, MB", "+ largest tensors, MB", "formula, MB", "measured, MB", "growth, s",
        "checkpoint, MB", "grow_dcp, s", "copy, s", "ratio",
    )  # fmt: skip
    for count in parser.parse_args().ranks:
        folder = Path(tempfile.mkdtemp())
        mp.spawn(_rank, (count, folder, sharded), nprocs=count)
        every = torch.load(folder / "results.pt", weights_only=True)
        shutil.rmtree(folder)
        r = max(every, key=lambda one: one["peak"])
        sizes = [r["shards"], r["largest"], r["shards"] + r["largest"], r["peak"]]
        table.add_row(
            str(count), *(f"{size / MB:.0f}" for size in sizes), f"{r['seconds']:.1f}", f"{r['bytes'] / MB:.0f}",
            f"{r['grown']:.1f}", f"{r['copied']:.1f}", f"{r['grown'] / r['copied']:.1f}",
        )  # fmt: skip
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
