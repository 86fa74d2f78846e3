"""The time of a growth in the middle of training against one training step, on a model of 100 M parameters.

A Llama-shaped model with AdamW gets twice as wide in its feed-forward layers, or one and a half times as deep. Medians
within one run; nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import net2net


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def main() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=2048, help="of the batch of a training step")
    arguments = parser.parse_args()
    config = LlamaConfig(
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=10,
        num_attention_heads=12,
        vocab_size=16000,
        tie_word_embeddings=False,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    ids = torch.randint(0, 16000, (arguments.tokens // 256, 256))

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()

    step()
    steps = [timed(step)[0] for _ in range(arguments.repeats)]
    optimizer.zero_grad()
    cases = {
        "feed-forward x2": {"sizes": {"model.layers.*.mlp.up_proj": 2.0}},
        "layers x1.5": {"where": {"model.layers": 5}},
    }
    rows = []
    for label, case in cases.items():
        grown, carried, size = [], [], 0
        for _ in range(arguments.repeats):
            seconds, growth = timed(lambda case=case: net2net.grow(model, {"input_ids": ids[:1, :16]}, **case))
            grown.append(seconds)
            carried.append(timed(lambda growth=growth: growth.optimizer(optimizer))[0])
            size = sum(p.numel() for p in growth.student.parameters())
        rows.append(
            {
                "case": label,
                "parameters": [sum(p.numel() for p in model.parameters()), size],
                "step": statistics.median(steps),
                "growth": statistics.median(grown),
                "optimizer": statistics.median(carried),
            }
        )
    table = Table("growth", "parameters", "one step, s", "plan, apply, proof, s", "optimizer, s", "in steps")
    for r in rows:
        before, after = r["parameters"]
        table.add_row(
            r["case"],
            f"{before / 1e6:.0f} M -> {after / 1e6:.0f} M",
            *(f"{r[key]:.2f}" for key in ("step", "growth", "optimizer")),
            f"{(r['growth'] + r['optimizer']) / r['step']:.1f}",
        )
    Console().print(table)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
