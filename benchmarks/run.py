"""What `make bench` measures: analysis against bare export, and widening against a clone of the same bytes.

Ratios are taken within one run, medians over repeats; nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import net2net


def llama(layers: int, hidden: int, device: str, *, heads: int = 16, vocab: int = 32000) -> torch.nn.Module:
    """A Llama-shaped model with grouped queries: 4 query heads for every key-value head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=hidden,
        intermediate_size=hidden * 11 // 4,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 4,
        vocab_size=vocab,
        use_cache=False,
    )
    with torch.device(device):
        return LlamaForCausalLM(config).eval()


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def analysis_against_export(layers: list[int], repeats: int) -> list[dict[str, float]]:
    """Seconds of `analyze` and of `torch.export.export` on the same model without weights."""
    rows = []
    tokens = torch.zeros(1, 8, dtype=torch.long, device="meta")
    for count in layers:
        model = llama(count, 1024, "meta")

        def export(model: torch.nn.Module = model) -> None:
            with torch.no_grad():
                torch.export.export(model, (), {"input_ids": tokens}, strict=False)

        def analyze(model: torch.nn.Module = model) -> None:
            net2net.analyze(model, {"input_ids": tokens})

        export()  # the first export of a process also imports
        pairs = [(timed(export), timed(analyze)) for _ in range(repeats)]
        bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        rows.append({"layers": count, "export_s": bare, "analyze_s": ours, "ratio": ours / bare})
    return rows


def peak_memory() -> float:
    """Peak resident memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def widen_against_clone(layers: int, hidden: int) -> dict[str, float]:
    """Seconds and peak memory of `widen(model, 2.0)` against cloning the student's bytes."""
    model = llama(layers, hidden, "cpu").to(torch.float32)
    parameters = sum(p.numel() for p in model.parameters())
    tokens = torch.arange(8).reshape(1, 8)
    before = peak_memory()
    start = time.perf_counter()
    growth = net2net.widen(model, 2.0, {"input_ids": tokens})
    seconds = time.perf_counter() - start
    memory = peak_memory()
    state = [p.detach() for p in growth.student.parameters()]
    size = sum(p.numel() * p.element_size() for p in state)
    clones = []
    for _ in range(3):
        start = time.perf_counter()
        copies = [p.clone() for p in state]
        clones.append(time.perf_counter() - start)
        del copies
    clone = statistics.median(clones)
    return {
        "teacher_million_parameters": parameters / 1e6,
        "student_gb": size / 2**30,
        "clone_s": clone,
        "widen_s": seconds,
        "ratio": seconds / clone,
        "peak_gb_before": before,
        "peak_gb_widen": memory,
        "relative_error": growth.verification.max_relative_error,
    }


def show(title: str, rows: list[dict[str, float]]) -> None:
    table = Table(title=title)
    for name in rows[0]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*(f"{value:.3g}" for value in row.values()))
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[8, 16, 32, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hidden", type=int, default=1280, help="of the model that is widened (500 M parameters)")
    parser.add_argument("--depth", type=int, default=22)
    parser.add_argument("--only", choices=["analysis", "widen"])
    parser.add_argument("--output", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    if options.only != "widen":
        results["analysis"] = analysis_against_export(options.layers, options.repeats)
        show("analyze against torch.export, Llama shapes", results["analysis"])
    if options.only == "widen":
        results["widen"] = [widen_against_clone(options.depth, options.hidden)]
        show("widen x2 against a clone of the student", results["widen"])
    elif options.only is None:  # in a process of its own, so that its peak memory is its own
        command = [sys.executable, __file__, "--only", "widen", "--hidden", str(options.hidden)]
        subprocess.run([*command, "--depth", str(options.depth)], check=True)
    if options.output:
        options.output.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
