"""What planning costs: `widen(model, 2.0)` of small hybrid language models against one `torch.export` of each.

Medians of three in one run, in seconds of the processor; nothing here is asserted.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import transformers
from rich.console import Console
from rich.table import Table

import net2net

_SIZES = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2,
}  # fmt: skip
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 16}
_LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen3.5": ("Qwen3_5Text", {"num_hidden_layers": 4, "head_dim": 8, **_LINEAR}),
    "Bamba": ("Bamba", {"num_hidden_layers": 2, "attn_layer_indices": [1], **_MAMBA}),
    "Falcon-H1": ("FalconH1", {"num_hidden_layers": 2, "head_dim": 8, "mamba_d_ssm": 64, **_MAMBA}),
    "Gemma 4": (
        "Gemma4Text",
        {
            "num_hidden_layers": 4, "head_dim": 8, "global_head_dim": 8, "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 64, "num_kv_shared_layers": 0,
        },
    ),
}  # fmt: skip


def build(family: str) -> torch.nn.Module:
    """A model of the family with a few ten thousand parameters."""
    name, own = MODELS[family]
    config = getattr(transformers, f"{name}Config")(**_SIZES, **own, use_cache=False)
    model: torch.nn.Module = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config)
    return model.eval()


def timed(work: Callable[[], Any]) -> float:
    """Seconds of processor time: what others do on the machine doesn't count."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print the table."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    table = Table("model", "export, s", "widen, s", "ratio", "grown", "left out")
    for family in MODELS:
        torch.manual_seed(0)
        model, tokens = build(family), {"input_ids": torch.randint(3, 60, (2, 9))}
        growths: list[net2net.Growth] = []

        def export(model: torch.nn.Module = model, tokens: dict[str, torch.Tensor] = tokens) -> None:
            with torch.no_grad():
                torch.export.export(model, (), tokens, strict=False)

        def widen(
            model: torch.nn.Module = model,
            tokens: dict[str, torch.Tensor] = tokens,
            growths: list[net2net.Growth] = growths,
        ) -> None:
            growths.append(net2net.widen(model, 2.0, tokens))

        export()  # the first one imports
        pairs = [(timed(export), timed(widen)) for _ in range(3)]
        bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
        plan = growths[0].plan
        cells = (f"{bare:.2f}", f"{ours:.2f}", f"{ours / bare:.1f}", len(plan.widenings), len(plan.left_out))
        table.add_row(family, *map(str, cells))
    Console().print(table)


if __name__ == "__main__":
    main()
