"""Readable names for dimensions: the module that makes them, or what they are to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable

from net2net.axes import Atom, Concat, Inference, LockKind, Term, atoms, resolve

Widths = Callable[[str], list[Term] | None]


def name_dimensions(inference: Inference, runs: dict[Atom, list[tuple[str, int]]], widths: Widths) -> dict[Atom, str]:
    """A unique name for each atom that reaches the state, in the order of the state.

    A name is a module's path only for the width of what that module gives back.

    Args:
        inference: of the network.
        runs: where each atom that gets a name runs.
        widths: the axes with names of what a module gives back; None where there is no such module.
    """
    names: dict[Atom, str] = {}
    taken: Counter[str] = Counter()
    shares = _parts_of_axes(inference)
    makers = _makers(inference)
    for atom, places in runs.items():
        paths = makers.get(atom, [])
        if atom not in shares:  # what a module makes for itself alone is no width of it
            paths = [p for p in paths if not (found := widths(p)) or any(atom in atoms(t) for t in found)]
        base = _base_name(atom, places, paths, shares)
        width = widths(base)
        is_part = False
        if not base or (width is not None and width != [atom]):
            is_part = bool(width) and all(isinstance(t, Concat) and atom in t.parts for t in width or ())
            base = base if is_part else _place_name(places, paths, shares.get(atom))
        taken[base] += 1
        names[atom] = base if taken[base] == 1 and not is_part else f"{base} #{taken[base]}"
    return names


def _place_name(places: list[tuple[str, int]], makers: list[str], share: str | None) -> str:
    """The tensor and the axis, and what the dimension is to it if there is another one."""
    made = [(tensor, axis) for tensor, axis in places if tensor.rpartition(".")[0] in makers]
    tensor, axis = (made or places)[0]
    return f"{tensor}[{axis}].{share}" if share else f"{tensor}[{axis}]"


def _makers(inference: Inference) -> dict[Atom, list[str]]:
    """The modules whose weights produce each atom as (a part of) their output."""
    makers: dict[Atom, list[str]] = defaultdict(list)
    for node in inference.graph.nodes:
        for value in node.inputs:
            if value.kind != "parameter" or len(value.shape) < 2:
                continue
            made = {a for t in inference.of(node.output) for a in atoms(t)}
            for axis, term in enumerate(inference.of(value)):
                summed = any(c.node is node and c.weight == (value, axis) for c in inference.contractions_at(node))
                for atom in dict.fromkeys(atoms(term)):
                    path = value.name.rpartition(".")[0]
                    if not summed and atom in made and path not in makers[atom]:
                        makers[atom].append(path)
    return makers


def _parts_of_axes(inference: Inference) -> dict[Atom, str]:
    """For atoms that share an axis with others as its factors, what they are to it."""
    products: list[tuple[tuple[Atom, ...], bool]] = []
    for value in inference.graph.state.values():
        for term in inference.of(value):
            whole = resolve(term)
            for part in getattr(whole, "parts", (whole,)):
                inner = tuple(a for a in dict.fromkeys(atoms(part)) if a.size > 1 and not _is_block(a))
                if len(inner) > 1:
                    products.append((inner, len(value.shape) > 2))
    convolved = {atom for inner, is_kernel in products if is_kernel for atom in inner}
    pairs = {inner for inner, _ in products if len(inner) == 2}
    found: dict[Atom, str] = {}
    for inner, _ in sorted(products, key=lambda p: -len(p[0])):
        if convolved & set(inner):
            words = ["groups"] + ["group_width"] * (len(inner) - 1)
        elif len(inner) == 3 and (inner[0], inner[2]) in pairs:
            words = ["kv_heads", "queries_per_kv_head", "head_size"]
        else:
            words = ["heads"] + ["head_size"] * (len(inner) - 1)
        for atom, word in zip(inner, words, strict=True):
            found.setdefault(atom, word)
    return found


def _is_block(atom: Atom) -> bool:
    """Gates, and the places of a fused projection: parts of an axis that are no dimension of the network."""
    return atom.lock is not None and atom.lock.kind is LockKind.PARTS


def _base_name(atom: Atom, places: list[tuple[str, int]], makers: list[str], factors: dict[Atom, str]) -> str:
    owners = makers or list(dict.fromkeys(tensor.rpartition(".")[0] for tensor, _ in places))
    if atom in factors:
        parent = _common(owners) if len(owners) > 1 else owners[0]
        return f"{parent}.{factors[atom]}" if parent else factors[atom]
    if not makers:
        return _place_name(places, makers, None)
    if len(makers) == 1:
        return makers[0]
    common = _common(makers)
    depth = len({path[len(common) :].strip(".").split(".")[0] for path in makers})
    siblings = all(path.rpartition(".")[0] == common for path in makers)
    if siblings and len(makers) == 2 and depth == 2 and common:
        return f"{common}.intermediate"
    return f"{common}.residual stream" if common else "residual stream"


def _common(paths: list[str]) -> str:
    """The longest module path that all paths start with."""
    split = [path.split(".") for path in paths]
    common = []
    for parts in zip(*split, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    if all(len(s) == len(common) for s in split) and len(paths) > 1:
        return ".".join(common)
    return ".".join(common[:-1] if len(common) and any(len(s) == len(common) for s in split) else common)
