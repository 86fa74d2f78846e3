"""Growing a checkpoint in a stream: wall time against copying the same bytes, and peak memory.

A Llama-shaped bf16 checkpoint is made on the spot, grown in processes of their own, and compared within one run with
`cp` of the output. Nothing here is asserted. `--experts` takes a Mixtral-shaped one instead, and doubles its experts.

`--mergekit PATH/TO/mergekit-yaml` runs mergekit's passthrough merge for the same depth growth in the same run: layers
0 to 3/4 and then the last 3/4 again. mergekit wants an environment of its own (0.1.5 is known to run):
`pip install mergekit`.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

GROW = """
import json, sys, time
from net2net.huggingface import grow_checkpoint, upcycle_checkpoint
start = time.perf_counter()
asked = json.loads(sys.argv[3])
if "experts" in asked:
    growth = upcycle_checkpoint(sys.argv[1], sys.argv[2], **asked, progress=lambda *a: None)
else:
    growth = grow_checkpoint(sys.argv[1], sys.argv[2], asked, progress=lambda *a: None)
assert growth.in_memory is None
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "error": growth.verification.max_relative_error}))
"""
# Starts the command from a small process: a child's peak begins at the memory that its parent had.
MEASURED = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"process_seconds": seconds, "peak_mb": peak}))
sys.exit(code)
"""


def make_checkpoint(folder: Path, layers: int, experts: bool) -> int:
    """A checkpoint with random bf16 weights. Returns its bytes.

    It is a Llama of 1.1 B parameters at 22 layers (TinyLlama's shape), or a Mixtral of 1.1 B at 12 layers.
    """
    import transformers

    from net2net.huggingface._parts import parts_of
    from net2net.huggingface._write import layout, write
    from net2net.pretrained import bare_model, shapes

    model_class = transformers.MixtralForCausalLM if experts else transformers.LlamaForCausalLM
    config = model_class.config_class(
        hidden_size=1024 if experts else 2048,
        intermediate_size=3584 if experts else 5632,
        num_hidden_layers=layers,
        num_attention_heads=16 if experts else 32,
        num_key_value_heads=4,
        vocab_size=32000,
        architectures=[model_class.__name__],
        dtype="bfloat16",
    )
    folder.mkdir()
    config.save_pretrained(folder)
    generator = torch.Generator().manual_seed(0)
    model = bare_model(model_class, config)
    expected = {}
    for name, parts in parts_of(model).items():
        for part in parts:
            shape = shapes(model)[name]
            own = shape if part.expert is None else (part.stop - part.start, *shape[2:])
            expected[part.name] = (own, torch.bfloat16)
    slots = layout(expected, 5 * 10**9)

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


def measured(command: list[str]) -> dict[str, float]:
    """A command in a process of its own: what it prints as JSON, its seconds from start to end, and its peak memory."""
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = {}
    for line in done.stdout.splitlines():
        if line.startswith("{"):
            found.update(json.loads(line))
    return found


def grow(source: Path, target: Path, sizes: dict[str, Any]) -> dict[str, float]:
    """One growth, and the time until it is on the disk."""
    found = measured([sys.executable, "-c", GROW, str(source), str(target), json.dumps(sizes)])
    return {**found, "process_seconds": found["process_seconds"] + synced(target)}


def passthrough(mergekit: Path, source: Path, target: Path, layers: int) -> dict[str, float]:
    """Half as many layers again by mergekit, in a process of its own, and the time until they are on the disk."""
    first = layers * 3 // 4
    second = round(layers * 1.5) - first
    slices = [[0, first], [layers - second, layers]]
    recipe = {
        "slices": [{"sources": [{"model": str(source), "layer_range": part}]} for part in slices],
        "merge_method": "passthrough",
        "dtype": "bfloat16",
    }
    file = target.with_suffix(".yaml")
    file.write_text(json.dumps(recipe))  # JSON is YAML
    found = measured([str(mergekit), str(file), str(target), "--no-copy-tokenizer", "--quiet"])
    file.unlink()
    seconds = found["process_seconds"] + synced(target)
    return {"seconds": seconds, "process_seconds": seconds, "peak_mb": found["peak_mb"]}


def synced(folder: Path) -> float:
    """Seconds until everything in a folder is on the disk."""
    start = time.perf_counter()
    subprocess.run(["sync", *map(str, folder.iterdir())], check=True)
    return time.perf_counter() - start


def copied(folder: Path, to: Path) -> float:
    """Seconds that `cp` takes for the weights of a folder, brought to the disk."""
    start = time.perf_counter()
    subprocess.run(["cp", "-r", str(folder), str(to)], check=True)
    seconds = time.perf_counter() - start
    seconds += synced(to)  # of each file: `sync` of a folder brings its list of names to the disk, not their content
    shutil.rmtree(to)
    return seconds


def measure(
    layers: int, cases: dict[str, dict[str, Any]], repeats: int, work: Path, mergekit: Path | None, experts: bool
) -> list[dict[str, Any]]:
    """Every case: medians over the repeats."""
    source = work / f"source-{layers}"
    size = make_checkpoint(source, layers, experts)
    ways: dict[str, Callable[[Path], dict[str, float]]] = {
        label: partial(grow, source, sizes=sizes) for label, sizes in cases.items()
    }
    if mergekit is not None:
        ways["depth x1.5 by mergekit"] = partial(passthrough, mergekit, source, layers=layers)
    rows = []
    for label, way in ways.items():
        runs, copies, written = [], [], 0
        for _ in range(repeats):
            target = work / "target"
            runs.append(way(target))
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
                "process_seconds": statistics.median(r["process_seconds"] for r in runs),
                "cp_seconds": copy,
                "ratio": seconds / copy,
                "peak_mb": max(r["peak_mb"] for r in runs),
                "error": max((r["error"] for r in runs if "error" in r), default=None),
            }
        )
    shutil.rmtree(source)
    return rows


CASES: dict[str, dict[str, Any]] = {
    "width x2": {"hidden_size": "2x", "intermediate_size": "2x"},
    "depth x1.5": {"num_hidden_layers": "1.5x"},
}
EXPERTS: dict[str, dict[str, Any]] = {"experts x2": {"experts": "2x", "routing": "raise_k"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experts", action="store_true", help="a mixture, of twice as many experts")
    parser.add_argument("--layers", type=int, nargs="+", default=None, help="22 by default, 12 of a mixture")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--folder", type=Path, default=None, help="where to work; by default a temporary folder")
    parser.add_argument("--mergekit", type=Path, default=None, help="mergekit-yaml of an environment of its own")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        for layers in arguments.layers or [12 if arguments.experts else 22]:
            cases = EXPERTS if arguments.experts else {case: CASES[case] for case in arguments.cases}
            rows += measure(layers, cases, arguments.repeats, Path(work), arguments.mergekit, arguments.experts)
    table = Table("layers", "growth", "GB read", "GB written", "s", "with start s", "cp s", "ratio", "peak MB", "error")
    for r in rows:
        numbers = (r["source_gb"], r["written_gb"], r["seconds"], r["process_seconds"], r["cp_seconds"], r["ratio"])
        error = "" if r["error"] is None else f"{r['error']:.0e}"
        table.add_row(str(r["layers"]), r["case"], *(f"{n:.2f}" for n in numbers), f"{r['peak_mb']:.0f}", error)
    Console(width=130).print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
