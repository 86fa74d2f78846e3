"""Processes that run a function together, forked so that nothing is imported anew."""

from __future__ import annotations

import datetime
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def ranks(count: int, folder: Path, work: Callable[..., Any], *args: Any, timeout: float = 60.0) -> list[Any]:
    """What `work(rank, count, *args)` gave on each of so many ranks: its result, an exception's text, or None where
    the process was killed."""
    folder.mkdir(exist_ok=True)
    context = mp.get_context("fork")
    processes = [context.Process(target=_run, args=(r, count, folder, work, args, timeout)) for r in range(count)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
        if process.is_alive():
            process.kill()
    found = [folder / f"result{rank}.pt" for rank in range(count)]
    return [torch.load(path, weights_only=False) if path.exists() else None for path in found]


def _run(rank: int, count: int, folder: Path, work: Callable[..., Any], args: Any, timeout: float) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=count,
        timeout=datetime.timedelta(seconds=timeout),
    )
    try:
        result = work(rank, count, *args)
    except Exception as error:
        traceback.print_exc()
        result = f"{type(error).__name__}: {error}"
    torch.save(result, folder / f"result{rank}.pt")
    if not isinstance(result, str):
        dist.destroy_process_group()
