"""Writes docs/models.md: for each model of the zoo which dimensions grow, and why the others do not.

Run as `make models`; the file is committed.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

import torch
from torch.utils import _pytree as pytree

import net2net
from zoo import TORCH_MODELS
from zoo.huggingface import huggingface_models
from zoo.model import ZooModel

HEAD = """# Models

Every model of the test zoo, analysed and made twice as wide (`net2net.widen(model, 2.0, inputs)`, in float64).
Repeated layers are written once, with `*` for their number. *any*: every larger size; *multiple*: whole multiples only.
The error is the largest difference to the teacher relative to the largest output, over eval mode and, with BatchNorm,
train mode; models that compute their norms in float32 inside are held to 1e-5, all others to 1e-10. Axes that belong to
inputs, outputs, vocabularies, kernels and gates are left out of the last column.

`make models` writes this page.
"""
COMMON = (
    "input",
    "output",
    "looked up by number",
    "no value of the network",
    "gates",
    "picked",
    "a spatial axis",
    "tensors of a list",
)


def kind(name: str) -> str:
    return re.sub(r"\d+", "*", name.split(" #")[0])


def row(model: ZooModel) -> str:
    teacher = model.build().double()
    inputs = pytree.tree_map_only(torch.Tensor, lambda t: t.double() if t.is_floating_point() else t, model.inputs())
    analysis = net2net.analyze(teacher, inputs)
    grows: dict[str, set[str]] = {}
    fixed: dict[str, set[str]] = {}
    for name, dimension in analysis.dimensions.items():
        if dimension.growth != "fixed":
            grows.setdefault(kind(name), set()).add(dimension.growth)
        elif not any(word in dimension.reason for word in COMMON):
            reason = kind(re.sub(r" \(aten\.\w+ in .*|;.*", "", dimension.reason))
            fixed.setdefault(reason, set()).add(kind(name))
    try:
        growth = net2net.widen(teacher, 2.0, inputs)
        result = f"{growth.verification.max_relative_error:.0e}"
        could = {name: why for name, why in growth.plan.left_out.items() if analysis.dimensions[name].growth != "fixed"}
        for name, reason in could.items():
            fixed.setdefault(f"with a factor for all left out: {short(reason)}", set()).add(kind(name))
    except net2net.GrowthError as error:
        result = "refused"
        fixed.setdefault(f"with a factor for all refused: {short(str(error))}", set())
    what = "; ".join(f"{name} ({'/'.join(sorted(how))})" for name, how in grows.items())
    why = "; ".join(f"{', '.join(sorted(names)) + ': ' if names else ''}{reason}" for reason, names in fixed.items())
    return f"| {model.name} | {result} | {what} | {why} |".replace("\n", " ")


def short(reason: str) -> str:
    """A refusal without its list of sizes and its advice."""
    reason = re.sub(r"\('[^)]*->[^)]*\)", "", reason.splitlines()[0])
    return kind(re.split(r"\. (Its|A size|Grow)", reason)[0])[:220].replace("|", "\\|")


def main(target: Path) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines = [HEAD]
    for title, models in (("Written in plain torch", TORCH_MODELS), ("From transformers", huggingface_models())):
        lines += [f"## {title}\n", "| model | error at x2 | grows | does not, and why |", "|---|---|---|---|"]
        for model in models:
            print(model.name, file=sys.stderr, flush=True)
            lines.append(row(model))
        lines.append("")
    target.write_text("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
