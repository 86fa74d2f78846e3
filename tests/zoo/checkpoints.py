"""Writes docs/families.md: every transformers family of the zoo as a checkpoint, grown wider, deeper and both.

Run as `make families`; the page is committed. In parts: `--only NAME...` makes these rows anew, `--resume` those that
the page doesn't have yet.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

import net2net
from net2net.capture import named_outputs
from zoo.huggingface import huggingface_groups
from zoo.model import ZooModel

TOLERANCE = 1e-5
# The words for sizes in the configs of transformers. A word that counts here stands in the config itself.
STREAM = ("hidden_size", "n_embd", "d_model", "embed_dim", "dim", "hidden_sizes", "neck_hidden_sizes")
FEED_FORWARD = (
    "intermediate_size", "n_inner", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size",
    "hidden_dim",
)  # fmt: skip
HEADS = (
    "num_attention_heads", "num_key_value_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads",
    "decoder_attention_heads", "num_kv_heads",
)  # fmt: skip
LAYERS = (
    "num_hidden_layers", "n_layer", "num_layers", "encoder_layers", "decoder_layers", "n_layers", "num_decoder_layers",
    "depths",
)  # fmt: skip
# Words that must follow the stream where they are equal to it.
FOLLOW = ("word_embed_proj_dim", "embedding_size")

HEAD = """# Families

Every transformers family of the test zoo as a checkpoint: a small model with random weights, saved by `save_pretrained`
in several shards, grown with `net2net.grow_checkpoint`, loaded again with plain `from_pretrained`, and compared with
its teacher in float32. *Wider* doubles the words of the third column, *deeper* those of the fourth, *both* all of them.
Where not all sizes of a family can be doubled, the most that can be are; the last column says what the rest is refused
for. *Split*: refused as it is, and exact with `how="split"`.

A number is the largest difference to the teacher relative to the largest output. *Memory*: grown in memory, because the
files hold their tensors otherwise than the modules do; all others were streamed. Every refusal came before anything
was written, unless it says that the proof failed.

`make families` writes this page.
"""
COLUMNS = ("family", "exact", "words for width", "words for depth", "wider", "deeper", "both", "refused for")


@dataclass(frozen=True)
class Outcome:
    """A growth: its sizes, and its error after loading or else the reason why there is none."""

    sizes: dict[str, str]
    how: str | None = None
    error: float | None = None
    reason: str = ""
    in_memory: bool = False

    @property
    def exact(self) -> bool:
        return self.error is not None and self.error <= TOLERANCE

    def __str__(self) -> str:
        if self.error is None:
            return "refused" if self.sizes else ""
        number = f"{self.error:.0e}" if self.exact else f"**{self.error:.0e}**"
        return ", ".join([number] + ["memory"] * self.in_memory + ["split"] * (self.how == "split"))


def words(config: Any, names: tuple[str, ...], prefix: str = "") -> dict[str, str]:
    """Those of the words that a config has for numbers or lists of them, in its parts too, each to be doubled."""
    found = {}
    for name, value in vars(config).items():
        numbers = value if isinstance(value, list) else [value]
        if name in names and numbers and all(type(n) is int and n > 0 for n in numbers):
            found[prefix + name] = "2x"
        elif name in ("text_config", "vision_config"):
            found.update(words(value, names, f"{name}."))
    return found


def widths(config: Any) -> list[dict[str, str]]:
    """Words for width, the most that can be asked for first."""
    stream, inner, heads = (words(config, names) for names in (STREAM, FEED_FORWARD, HEADS))
    if "embed_dim" in stream:
        stream.pop("hidden_size", None)  # that of the last of several stages: computed, not read
    size = [getattr(config, name) for name in stream if "." not in name]
    stream.update({name: "2x" for name in words(config, FOLLOW) if getattr(config, name, None) in size})
    tries = [{**stream, **inner, **heads}, {**stream, **inner}, {**inner, **heads}, inner]
    return [t for i, t in enumerate(tries) if t and t not in tries[:i]]


def depths(config: Any) -> list[dict[str, str]]:
    """Words for depth; where stages have a number each, those with more than one block are asked for on their own."""
    layers = words(config, LAYERS)
    stages = getattr(config, "depths", None) if "depths" in layers else None
    long = {f"depths.{i}": "2x" for i, count in enumerate(stages or []) if count > 1}
    if stages:
        layers = {"depths": "2x"}  # their number stands in some configs too: it does not change
    return [sizes for sizes in (layers, long) if sizes]


class Family:
    """One family: its teacher, in memory and saved in several shards."""

    def __init__(self, model: ZooModel, folder: Path) -> None:
        self.teacher = cast(Any, model.build())
        self.inputs: Any = model.inputs()
        self.folder = folder
        size = sum(p.numel() * p.element_size() for p in self.teacher.parameters())
        self.shard = f"{max(1, size // 4000)}KB"
        self.teacher.save_pretrained(folder / "teacher", max_shard_size=self.shard)
        assert len(list((folder / "teacher").glob("model-*.safetensors"))) > 1

    def grow(self, sizes: dict[str, str], how: str | None = None) -> Outcome:
        """Grow the checkpoint, load what was written, compare."""
        source, target = self.folder / "teacher", self.folder / "student"
        shutil.rmtree(target, ignore_errors=True)
        try:
            growth = net2net.grow_checkpoint(source, target, sizes, how=how, max_shard_size=self.shard)
        except net2net.VerificationError as error:
            return Outcome(sizes, how, reason=f"the proof failed: {error}")
        except net2net.GrowthError as error:
            return Outcome(sizes, how, reason=str(error))
        if growth.parameters[1] <= growth.parameters[0]:
            return Outcome(sizes, how, reason="nothing grew: its class computes these words from others")
        student: Any = type(self.teacher).from_pretrained(target).eval()
        with torch.no_grad():
            ours, theirs = (named_outputs(model(**self.inputs)) for model in (self.teacher, student))
        errors = [relative_error(ours[n], theirs[n]) for n in ours if isinstance(ours[n], torch.Tensor)]
        in_memory = json.loads((target / "growth.json").read_text())["in_memory"] is not None
        return Outcome(sizes, how, max(errors), in_memory=in_memory)

    def wider(self) -> Iterator[Outcome]:
        """Each try, until one is exact."""
        for sizes, how in itertools.product(widths(self.teacher.config), (None, "split")):
            outcome = self.grow(sizes, how)
            yield outcome
            if outcome.exact:
                return

    def deeper(self) -> Iterator[Outcome]:
        """Each try, until one is exact."""
        for sizes in depths(self.teacher.config):
            outcome = self.grow(sizes)
            yield outcome
            if outcome.exact:
                return


def relative_error(reference: torch.Tensor, other: torch.Tensor) -> float:
    if not reference.is_floating_point() or not reference.numel():
        return 0.0 if torch.equal(reference, other) else float("inf")
    error = float((reference - other).abs().max() / reference.abs().max())
    return error if error == error else float("inf")


def row(model: ZooModel, folder: Path) -> str:
    try:
        family = Family(model, folder)
        wide, deep = list(family.wider()), list(family.deeper())
        wider, deeper = (best(tries) for tries in (wide, deep))
        both = Outcome({})
        if wider.exact and deeper.exact:
            both = family.grow({**wider.sizes, **deeper.sizes}, wider.how)
    except Exception as error:  # a page about what works says what doesn't
        return line(model.name, "**no**", "", "", "", "", "", f"{type(error).__name__}: {short(str(error))}")
    reasons = []
    for what, tries, found in (("width", wide, wider), ("depth", deep, deeper), ("both", [both], both)):
        first = tries[0].reason if tries else "its config has no whole number for it"
        more = "" if not found.exact else "without split, " if found.sizes == tries[0].sizes else "more "
        reasons += [f"{more}{what}: {short(first)}"] if first else []
    exact = "yes" if wider.exact and deeper.exact and both.exact else "no"
    sizes = (", ".join(f"`{w}`" for w in o.sizes) for o in (wider, deeper))
    return line(model.name, exact, *sizes, str(wider), str(deeper), str(both), "; ".join(reasons))


def best(tries: list[Outcome]) -> Outcome:
    """The exact one, which is the last; else the one that asked for the most."""
    return tries[-1] if tries and tries[-1].exact else tries[0] if tries else Outcome({})


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def short(reason: str) -> str:
    """A refusal without its advice."""
    reason = (reason.strip().splitlines() or [""])[0]
    return re.split(r"\. (Its|A size|Grow|init=|They stay|Check)", reason)[0].rstrip(".")[:220].replace("|", "\\|")


def page(rows: dict[str, str]) -> str:
    lines = [HEAD]
    full = sum(text.split(" | ")[1] == "yes" for text in rows.values())
    lines.append(f"{full} of {len(rows)} families are exact in all three.\n")
    for title, models in huggingface_groups().items():
        inside = [rows[model.name] for model in models if model.name in rows]
        if inside:
            lines += [f"## {title}\n", line(*COLUMNS), "|" + "---|" * len(COLUMNS), *inside, ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="make these rows anew and keep the others")
    parser.add_argument("--resume", action="store_true", help="make the rows that the page doesn't have yet")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows: dict[str, str] = {}
    if (given.only or given.resume) and given.page.is_file():
        rows = {text.split(" ")[1]: text for text in given.page.read_text().splitlines() if text.startswith("| ")}
    models = {model.name: model for group in huggingface_groups().values() for model in group}
    rows = {name: text for name, text in rows.items() if name in models}
    for name in given.only or models:
        if given.resume and name in rows:
            continue
        print(name, file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows[name] = row(models[name], Path(folder))
        given.page.write_text(page(rows))


if __name__ == "__main__":
    main()
