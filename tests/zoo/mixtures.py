"""Writes docs/mixtures.md: every mixture of experts of the zoo, wider, deeper and with more experts.

Run as `make mixtures`; the page is committed. `--only NAME...` makes these rows anew, `--ways WAY...` these columns.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

import net2net
from zoo.huggingface_mixtures import MODELS
from zoo.model import ZooModel

PAGE = Path(__file__).parents[2] / "docs" / "mixtures.md"
TOLERANCE = 1e-5
WAYS = ("wider", "deeper", "streamed", "replica", "raise_k")
COLUMNS = ("family", "class", "wider", "parameters", *WAYS[1:])
Cells = dict[str, str]

HEAD = """# Mixtures of experts of transformers

Every mixture of the test zoo: a small model with random weights, grown and compared with its teacher in float32.
The experts' weights are four times the zoo's, so that they count beside the stream.

- *Wider*: `net2net.widen(model, 2.0, inputs)`, everything that can grow in width: the stream, heads, the experts' and
  other feed-forwards' hidden units. How many times the parameters there are then.
- *Deeper*: `net2net.deepen(model, {"model.layers": "2x"}, inputs)`: twice the layers. Where they are of several
  kinds, whole periods of their pattern come in, or more of one kind, and the words of the config follow.
- *Streamed*: `net2net.grow_checkpoint(folder, target, {"num_hidden_layers": "2x"})`, loaded by plain `from_pretrained`.
- *Replica*: `net2net.upcycle(model, "2x", inputs)`: twice the experts, the same compute for each token.
- *raise_k*: `net2net.upcycle_checkpoint(folder, target, "2x", routing="raise_k")`, streamed, and loaded by plain
  `from_pretrained`: twice the experts in the class itself, twice as many for each token.

A number is the largest difference to the teacher relative to the largest output. Refusals are explained below.
Qwen3-Next amplifies rounding: weights changed by 3e-8 of their size change its own logits by 4e-5, above the tolerance.

`make mixtures` writes this page.

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


def row(zoo: ZooModel, folder: Path, ways: Collection[str] = WAYS) -> tuple[Cells, dict[str, str]]:
    """Cells of the family's line of the table, by column, and why what is refused is."""
    teacher: Any = spread(zoo.build()).eval()
    inputs = zoo.inputs()
    teacher.save_pretrained(folder / "small")

    def wider() -> nn.Module:
        return net2net.widen(teacher, 2.0, inputs).student

    def deeper() -> nn.Module:
        return net2net.deepen(teacher, {"model.layers": "2x"}, inputs).student

    def streamed() -> nn.Module:
        net2net.grow_checkpoint(folder / "small", folder / "deep", {"num_hidden_layers": "2x"})
        found: nn.Module = type(teacher).from_pretrained(folder / "deep")
        return found

    def replica() -> nn.Module:
        return net2net.upcycle(teacher, "2x", inputs).student

    def raise_k() -> nn.Module:
        net2net.upcycle_checkpoint(folder / "small", folder / "big", "2x", routing="raise_k")
        found: nn.Module = type(teacher).from_pretrained(folder / "big")
        return found

    cells: Cells = {"family": zoo.name, "class": type(teacher).__name__}
    reasons = {}
    makers: list[Callable[[], nn.Module]] = [wider, deeper, streamed, replica, raise_k]
    for way, make in zip(WAYS, makers, strict=True):
        if way not in ways:
            continue
        try:
            student = make()
        except net2net.GrowthError as refusal:
            cells[way] = "refused"
            reasons[way] = " ".join(str(refusal).split()).split(". ")[0].split("; '")[0].rstrip(".")
        except Exception as broken:  # what is wrong stands in the page
            cells[way] = f"**{type(broken).__name__}**"
        else:
            found = error(teacher, student, inputs)
            cells[way] = f"{found:.0e}" if found <= TOLERANCE else f"**{found:.0e}**"
            if way == "wider":
                counts = [sum(p.numel() for p in model.parameters()) for model in (teacher, student)]
                cells["parameters"] = f"x{counts[1] / counts[0]:.2f}"
    return cells, reasons


def written() -> dict[str, Cells]:
    """The lines of the page's table, by family."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")] if PAGE.is_file() else []
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {line[0]: dict(zip(cells[0], line, strict=True)) for line in cells[2:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=None, choices=[model.name for model in MODELS])
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    for model in MODELS:
        if asked.only is not None and model.name not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            line, why = row(model, Path(folder), asked.ways)
        print(line, json.dumps(why), file=sys.stderr, flush=True)
        cells = written()  # each family is written at once: a run may be stopped
        cells[model.name] = {**cells.get(model.name, {}), **line}
        new = {way: f"- {model.name}, {way}: {reason}." for way, reason in why.items()}
        old = {(name, way): line for name, way, line in _reasons() if name != model.name or way not in asked.ways}
        reasons = {**old, **{(model.name, way): line for way, line in new.items()}}
        lines = [COLUMNS, ["---"] * len(COLUMNS)]
        lines += [[cells[m.name].get(column, "") for column in COLUMNS] for m in MODELS if m.name in cells]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        told = [reasons[m.name, way] for m in MODELS for way in WAYS if (m.name, way) in reasons]
        PAGE.write_text(HEAD + table + "\n\n## Refused\n\n" + "\n".join(told) + "\n")


def _reasons() -> Iterator[tuple[str, str, str]]:
    """The page's reasons, by family and way."""
    for line in PAGE.read_text().splitlines() if PAGE.is_file() else []:
        found = re.match(r"- (\w+), (\w+): ", line)
        if found:
            yield found[1], found[2], line


if __name__ == "__main__":
    main()
