"""The model card of a grown folder: the source's own, with where the model comes from and how it grew."""

from __future__ import annotations

import json
import re
from pathlib import Path

from net2net.plan import Deepening, Plan, Widening

_KEY = re.compile(r"([A-Za-z_][\w-]*):")
_PLAIN = re.compile(r"[A-Za-z][\w.-]*(/[\w.-]+)?")


def card(plan: Plan, source: Path, own: str | None, written: dict[str, str]) -> str:
    """A card in the form of the hub.

    Args:
        plan: of the growth.
        source: the folder that grew.
        own: the text of its card, if it has one.
        written: the names of the files that net2net adds, and what each is for.
    """
    metadata, text = _split(own or "")
    lines = []
    for step in plan.steps:
        lines += [f"- {w.dimension}: {w.before} -> {w.after} ({w.how})" for w in step.widenings]
        lines += [f"- {d.place}: {d.before} -> {d.after} blocks ({d.init})" for d in step.deepenings]
        others = [c.row() for c in step.changes if not isinstance(c, (Widening, Deepening))]
        lines += [f"- {row.what}: {row.before} -> {row.after} ({row.how})" for row in others]
    files = "; ".join(f"`{name}` {purpose}" for name, purpose in written.items())
    growth = (
        f"# Grown with net2net {plan.version}\n\n"
        f"Preserves the function of its teacher: {plan.preserves}. Seed {plan.seed}.\n\n"
        + "\n".join(lines)
        + f"\n\n{files}.\n"
    )
    below = f"\n{text.strip()}\n" if text.strip() else ""
    return f"---\n{_with_growth(metadata, source)}---\n\n{growth}{below}"


def _split(own: str) -> tuple[str, str]:
    """The metadata of a card and its text."""
    found = re.match(r"---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", own.removeprefix("\ufeff"), re.DOTALL | re.MULTILINE)
    return (found.group(1), own.removeprefix("\ufeff")[found.end() :]) if found else ("", own.removeprefix("\ufeff"))


def _with_growth(metadata: str, source: Path) -> str:
    """The metadata with the source as the base model and a tag; every other line stays as it is."""
    blocks: dict[str, str] = {}
    key = ""
    for line in metadata.splitlines():
        start = _KEY.match(line)
        key = start.group(1) if start else key
        blocks[key] = blocks.get(key, "") + line + "\n"
    hub = _on_the_hub(source)
    if hub is not None or "base_model" not in blocks:  # a folder's card may name what that was trained from
        name = hub or source.resolve().name
        blocks["base_model"] = f"base_model: {name if _PLAIN.fullmatch(name) else json.dumps(name)}\n"
        blocks.pop("base_model_relation", None)
    blocks.setdefault("library_name", "library_name: transformers\n")
    blocks["tags"] = _tagged(blocks.get("tags", "tags:\n"))
    return "".join(blocks.values())


def _tagged(tags: str) -> str:
    """The block of the tags with ours among them, where it is written as a list."""
    if re.search(r"[-\[,\s]net2net\b", tags):
        return tags
    first, *items = tags.splitlines()
    if re.fullmatch(r"tags:\s*(#.*)?", first):
        indent = next((item[: len(item) - len(item.lstrip())] for item in items if item.lstrip().startswith("- ")), "")
        return f"{first}\n{indent}- net2net\n" + "".join(item + "\n" for item in items)
    return re.sub(r"^tags:\s*\[\s*(\]?)", lambda m: f"tags: [net2net{m.group(1) or ', '}", tags)


def _on_the_hub(source: Path) -> str | None:
    """The name of a model whose folder lies in the hub's cache."""
    for part in source.absolute().parts:
        if part.startswith("models--"):
            return part.removeprefix("models--").replace("--", "/", 1)
    return None
