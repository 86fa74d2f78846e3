"""Parameters that no example reads: what a growth can't know of, and what would crash if it were ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from net2net.analysis._analysis import Analysis
from net2net.analysis._dimensions import Dimension
from net2net.errors import CouplingError, OptionError, warn
from net2net.plan import Plan
from net2net.pretrained import in_pretrained

_WAYS_OUT = (
    "Give example inputs that run it (a list of several examples), or name the method that does (methods=); a network "
    "of the same shapes, such as a target network, is grown by itself with growth.replay"
)


def unread_parts(analysis: Analysis) -> dict[str, tuple[str, ...]]:
    """Modules, or single parameters, that no example reads, with their parameters: the largest such modules.

    Models of transformers are left out: their class makes what they don't read at the new size.
    """
    model, graph = analysis.sites.model, analysis.sites.inference.graph
    given_back = set(graph.outputs.values())
    parameters = [name for name, _ in model.named_parameters()]
    unread = {
        name
        for name in parameters
        if (value := graph.state.get(name)) is not None and not value.consumers and value not in given_back
    }
    unread = {n for n in unread if not in_pretrained(model, n.rpartition(".")[0])}
    read = {n for n in parameters if n not in unread}
    found: dict[str, list[str]] = {}
    for name in parameters:
        if name in unread:
            parts = name.split(".")
            prefixes = [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
            part = next(p for p in prefixes if p == name or not any(r.startswith(p + ".") for r in read))
            found.setdefault(part, []).append(name)
    return {part: tuple(names) for part, names in found.items()}


def note_of(analysis: Analysis) -> str | None:
    """What a plan says of parameters that no example reads."""
    parts = unread_parts(analysis)
    if not parts:
        return None
    names = ", ".join(f"'{part}'" for part in list(parts)[:5]) + (", ..." if len(parts) > 5 else "")
    return f"no example reads {names}: what is there keeps its sizes. {_WAYS_OUT}."


def with_notes(plan: Plan, analysis: Analysis) -> Plan:
    """The plan with what wasn't captured in its notes; it is warned of too."""
    note = note_of(analysis)
    if note is not None:
        warn(note)
    return replace(plan, notes=(*plan.notes, *analysis.notes, *([note] if note is not None else [])))


def apart_from_unread(
    analysis: Analysis, sizes: Mapping[str, int], unread: str, every: bool
) -> tuple[dict[str, int], dict[str, str]]:
    """The sizes that can be asked for although parts of the network are read by nothing, and why others can't.

    A dimension may be shared with such a part where it passes between the part's neighbours (it is in one of them and
    outside of it too) and the part has an axis of its size. One that stays inside a neighbour, as in a twin network, is
    no matter of others.

    Args:
        sizes: what is to grow.
        unread: "refuse" what may be shared, or "keep" the parts as they are.
        every: whether a factor for all is asked for; what can't grow is then left out.

    Raises:
        CouplingError: a dimension that is asked for by name may be shared; or all may.
        OptionError: `unread` is neither "refuse" nor "keep".
    """
    if unread not in ("refuse", "keep"):
        raise OptionError(f"unread={unread!r} is not known; use 'refuse' or 'keep'.")
    parts = unread_parts(analysis) if unread == "refuse" else {}
    shapes = {name: tuple(p.shape) for name, p in analysis.sites.model.named_parameters()}
    left_out: dict[str, str] = {}
    for name, size in sizes.items():
        dimension = analysis.dimensions[name]
        shared = _sharing(dimension, parts, shapes) if size > dimension.size else None
        if shared is not None:
            part, tensor = shared
            left_out[name] = (
                f"'{name}' ({dimension.size}) passes by '{part}', which no example reads: its '{tensor}' "
                f"{list(shapes[tensor])} would keep its size and may not run any more. {_WAYS_OUT}; if it "
                f"doesn't share '{name}', say unread='keep'."
            )
    if left_out and (not every or len(left_out) == len(sizes)):
        raise CouplingError(next(iter(left_out.values())))
    return {name: size for name, size in sizes.items() if name not in left_out}, left_out


def _sharing(
    dimension: Dimension, parts: Mapping[str, tuple[str, ...]], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[str, str] | None:
    for part, names in parts.items():
        parent = part.rpartition(".")[0]
        prefix = f"{parent}." if parent else ""
        around = {t[len(prefix) :].split(".")[0] for t in dimension.tensors if t.startswith(prefix)}
        outside = any(not t.startswith(prefix) for t in dimension.tensors)
        if around and (outside or len(around) > 1):
            odd = next((n for n in names if dimension.size in shapes[n]), None)
            if odd is not None:
                return part, odd
    return None
