"""Growing a checkpoint in a stream: wall time against copying the same bytes, and peak memory.

A Llama-shaped bf16 checkpoint is made on the spot, grown in processes of their own, and compared within one run with
`cp` of the output. Nothing here is asserted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

GROW = """
import json, resource, sys, time
from net2net.huggingface import grow_checkpoint
start = time.perf_counter()
stages = []
growth = grow_checkpoint(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), progress=lambda *a: None)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "peak_mb": peak, "error": growth.verification.max_relative_error}))
"""


def make_checkpoint(folder: Path, layers: int) -> int:
    """A Llama of 1.1 B parameters at 22 layers (TinyLlama's shape), with random bf16 weights. Returns its bytes."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from net2net.huggingface._folder import bare_model
    from net2net.huggingface._write import layout, write

    config = LlamaConfig(
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=4,
        vocab_size=32000,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    folder.mkdir()
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    shapes = {n: (tuple(t.shape), torch.bfloat16) for n, t in bare_model(LlamaForCausalLM, config).state_dict().items()}
    slots = layout(shapes, 5 * 10**9)

    def values(slot: Any) -> Any:
        if len(slot.shape) == 1:
            yield torch.ones(slot.shape)
            return
        for _ in range(slot.shape[0] // 500):
            yield torch.randn(500, *slot.shape[1:], generator=generator) * 0.02
        yield torch.randn(slot.shape[0] % 500, *slot.shape[1:], generator=generator) * 0.02

    write(folder, slots, values, lambda count: None)
    (folder / "progress.jsonl").unlink()
    return sum(s.length for s in slots)


def grow(source: Path, target: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """One growth in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", GROW, str(source), str(target), json.dumps(sizes)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def copied(folder: Path, to: Path) -> float:
    """Seconds that `cp` takes for the weights of a folder, brought to the disk."""
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder), str(to)], check=True)
    subprocess.run(["sync", str(to)], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(to)
    return seconds


def measure(layers: int, cases: dict[str, dict[str, Any]], repeats: int, work: Path) -> list[dict[str, Any]]:
    """Every case: medians over the repeats."""
    source = work / f"source-{layers}"
    size = make_checkpoint(source, layers)
    rows = []
    for label, sizes in cases.items():
        runs, copies, written = [], [], 0
        for _ in range(repeats):
            target = work / "target"
            runs.append(grow(source, target, sizes))
            written = sum(f.stat().st_size for f in target.glob("*.safetensors"))
            copies.append(copied(target, work / "copy"))
            shutil.rmtree(target)
        seconds, copy = statistics.median(r["seconds"] for r in runs), statistics.median(copies)
        rows.append(
            {
                "layers": layers,
                "case": label,
                "source_gb": size / 1e9,
                "written_gb": written / 1e9,
                "seconds": seconds,
                "cp_seconds": copy,
                "ratio": seconds / copy,
                "peak_mb": max(r["peak_mb"] for r in runs),
                "error": max(r["error"] for r in runs),
            }
        )
    shutil.rmtree(source)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, nargs="+", default=[22])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where to work; by default a temporary folder")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        for layers in arguments.layers:
            cases = {
                "width x2": {"hidden_size": "2x", "intermediate_size": "2x"},
                "depth x1.5": {"num_hidden_layers": "1.5x"},
            }
            rows += measure(layers, cases, arguments.repeats, Path(work))
    table = Table("layers", "growth", "GB read", "GB written", "s", "cp s", "ratio", "peak MB", "error")
    for r in rows:
        numbers = (r["source_gb"], r["written_gb"], r["seconds"], r["cp_seconds"], r["ratio"])
        table.add_row(
            str(r["layers"]), r["case"], *(f"{n:.2f}" for n in numbers), f"{r['peak_mb']:.0f}", f"{r['error']:.0e}"
        )
    Console().print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
