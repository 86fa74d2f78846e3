"""Writes docs/mixtures.md: every mixture of experts of the zoo, wider and with more experts.

Run as `make mixtures`; the page is committed. `--only NAME...` makes these rows anew.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import net2net
from zoo.huggingface_mixtures import MODELS
from zoo.model import ZooModel

PAGE = Path(__file__).parents[2] / "docs" / "mixtures.md"
TOLERANCE = 1e-5
WAYS = ("wider", "replica", "raise_k")

HEAD = """# Mixtures of experts of transformers

Every mixture of the test zoo: a small model with random weights, grown and compared with its teacher in float32.
The experts' weights are four times the zoo's, so that they count beside the stream.

- *Wider*: `net2net.widen(model, 2.0, inputs)`, everything that can grow in width: the stream, heads, the experts' and
  other feed-forwards' hidden units. How many times the parameters there are then.
- *Replica*: `net2net.upcycle(model, "2x", inputs)`: twice the experts, the same compute for each token.
- *raise_k*: `net2net.upcycle_checkpoint(folder, target, "2x", routing="raise_k")`, streamed, and loaded by plain
  `from_pretrained`: twice the experts in the class itself, twice as many for each token.

A number is the largest difference to the teacher relative to the largest output. Refusals are explained below.

`make mixtures` writes this page.

| family | class | wider | parameters | replica | raise_k |
| --- | --- | --- | --- | --- | --- |
"""


def error(teacher: Any, student: Any, inputs: dict[str, torch.Tensor]) -> float:
    """The largest difference of the outputs relative to the largest output."""
    with torch.no_grad():
        ours, theirs = teacher.eval()(**inputs).logits, student.eval()(**inputs).logits
    return float((ours - theirs).abs().max() / ours.abs().max())


def spread(model: nn.Module) -> nn.Module:
    """Experts that count for something: the zoo's are small beside the stream."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "expert" in name and parameter.dim() > 1:
                parameter.mul_(4)
    return model


def row(zoo: ZooModel, folder: Path) -> tuple[str, dict[str, str]]:
    """The family's line of the table, and why what is refused is."""
    teacher: Any = spread(zoo.build()).eval()
    inputs = zoo.inputs()
    teacher.save_pretrained(folder / "small")

    def wider() -> nn.Module:
        return net2net.widen(teacher, 2.0, inputs).student

    def replica() -> nn.Module:
        return net2net.upcycle(teacher, "2x", inputs).student

    def raise_k() -> nn.Module:
        net2net.upcycle_checkpoint(folder / "small", folder / "big", "2x", routing="raise_k")
        found: nn.Module = type(teacher).from_pretrained(folder / "big")
        return found

    cells, reasons, times = [], {}, ""
    makers: dict[str, Callable[[], nn.Module]] = {"wider": wider, "replica": replica, "raise_k": raise_k}
    for way in WAYS:
        try:
            student = makers[way]()
        except net2net.GrowthError as refusal:
            cells.append("refused")
            reasons[way] = " ".join(str(refusal).split()).split(". ")[0].split("; '")[0].rstrip(".")
        except Exception as broken:  # what is wrong stands in the page
            cells.append(f"**{type(broken).__name__}**")
        else:
            found = error(teacher, student, inputs)
            cells.append(f"{found:.0e}" if found <= TOLERANCE else f"**{found:.0e}**")
            if way == "wider":
                counts = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
                times = f"x{counts[1] / counts[0]:.2f}"
    cells.insert(1, times)
    return f"| {zoo.name} | {type(teacher).__name__} | {' | '.join(cells)} |", reasons


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=None, choices=[model.name for model in MODELS])
    only = parser.parse_args().only
    warnings.simplefilter("ignore")
    old = PAGE.read_text().splitlines() if PAGE.is_file() else []
    lines, reasons = [], []
    for model in MODELS:
        if only is not None and model.name not in only:
            lines += [line for line in old if line.startswith(f"| {model.name} |")]
            reasons += [line for line in old if line.startswith(f"- {model.name}, ")]
            continue
        with tempfile.TemporaryDirectory() as folder:
            line, why = row(model, Path(folder))
        print(line, json.dumps(why), file=sys.stderr, flush=True)
        lines.append(line)
        reasons += [f"- {model.name}, {way}: {reason}." for way, reason in why.items()]
    PAGE.write_text(HEAD + "\n".join(lines) + "\n\n## Refused\n\n" + "\n".join(reasons) + "\n")


if __name__ == "__main__":
    main()
