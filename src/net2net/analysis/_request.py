"""What the user asks for -> which dimension gets which size."""

from __future__ import annotations

import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping
from numbers import Integral

from net2net.analysis._analysis import Analysis
from net2net.analysis._dimensions import Dimension
from net2net.axes import Atom, Concat, Product, Term, atoms, size
from net2net.capture import shown
from net2net.errors import FixedDimensionError, OptionError, SizeError, UnknownNameError

Size = int | float | str
Request = Mapping[str, Size] | float | str


def new_size(wanted: Size, before: int, name: str) -> int:
    """The size meant by an int (the new size), a float (a factor) or a string like "2x".

    Raises:
        SizeError: it is none of these, or not larger than 0.

    Example:
        >>> new_size(12, 8, "fc"), new_size(1.5, 8, "fc"), new_size("2x", 8, "fc")
        (12, 12, 16)
    """
    if isinstance(wanted, bool):
        raise SizeError(f"'{name}': {wanted!r} is not a size; give an int (a size), a float (a factor) or '2x'.")
    if isinstance(wanted, Integral):  # numpy's too
        return int(wanted)
    try:
        if isinstance(wanted, str):
            text = wanted.strip().lower()
            return round(before * float(text[:-1])) if text.endswith("x") else int(text)
        if math.isfinite(wanted) and wanted > 0:
            return round(before * wanted)
    except (ValueError, TypeError, OverflowError):
        pass
    raise SizeError(
        f"'{name}': {wanted!r} is not a size; give an int (a size), a float (a factor) or a string like '2x'."
    )


def resolve_request(analysis: Analysis, request: Request) -> dict[str, int]:
    """The new size of each dimension that the request means.

    Args:
        analysis: the dimensions of the network.
        request: a factor for every primary dimension that can grow, or sizes by dimension name, module path
            (the module's output width) or glob of either.

    Raises:
        UnknownNameError, SizeError, FixedDimensionError, OptionError: a key or a size doesn't work.
    """
    if isinstance(request, Mapping):
        sizes: dict[str, int] = {}
        for key, wanted in request.items():
            for name, after in _sizes_for(analysis, key, wanted):
                if sizes.setdefault(name, after) != after:
                    raise OptionError(f"'{key}' asks for {after} units of '{name}', another key for {sizes[name]}.")
        return sizes
    if isinstance(request, int):
        example = int(request) if request > 1 else 2
        raise OptionError(
            f"widen(model, {request}): give a factor ({float(example)} or '{example}x') or a dict of sizes."
        )
    growable = [d for d in analysis.growable() if d.primary]
    if not growable:
        reasons = [f"'{d.name}': {d.reason}" for d in list(analysis.dimensions.values())[:5]]
        raise FixedDimensionError(
            f"no dimension of this network can grow: {'; '.join(reasons) or 'it has no weights'}."
        )
    return {d.name: new_size(request, d.size, d.name) for d in growable}


def meant_by(analysis: Analysis, request: Request) -> list[str]:
    """The dimensions that a factor for all means, or the globs of a request, those that can't grow too."""
    if not isinstance(request, Mapping):
        return list(analysis.dimensions)
    globs = (key for key in request if key not in analysis.dimensions)
    return list(dict.fromkeys(name for key in globs for name in analysis.matching(key)))


def _sizes_for(analysis: Analysis, key: str, wanted: Size) -> Iterator[tuple[str, int]]:
    key = shown(key) or key
    names = analysis.matching(key)
    if names:
        is_glob = key not in analysis.dimensions
        for name in names:
            dimension = analysis.dimensions[name]
            if not (is_glob and dimension.growth == "fixed"):
                yield name, new_size(wanted, dimension.size, name)
        return
    paths = analysis.module_paths()
    matched = [key] if key in paths else fnmatch.filter(paths, key)
    if not matched:
        raise _unknown(analysis, key, paths)
    for path in matched:
        yield from _module_sizes(analysis, path, wanted)


def _unknown(analysis: Analysis, key: str, paths: list[str]) -> UnknownNameError:
    names = list(dict.fromkeys([*analysis.dimensions, *paths]))  # many a dimension is called like its module
    if key in analysis.modules.every:
        names = [d.name for d in analysis.growable() if any(t.startswith(f"{key}.") for t in d.tensors)]
        read = f"; its tensors have {names[:5]}" if names else ""
        return UnknownNameError(f"module '{key}' isn't called on the example inputs, so it has no output width{read}.")
    near = difflib.get_close_matches(key, names, n=3, cutoff=0.4)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "print(net2net.analyze(...)) lists the names."
    return UnknownNameError(f"no dimension and no module is called '{key}'. {hint}")


def _module_sizes(analysis: Analysis, path: str, wanted: Size) -> Iterator[tuple[str, int]]:
    """A module path means the width of what the module gives back."""
    named = {atom: analysis.dimensions[name] for name, atom in analysis.atoms.items()}
    widths = analysis.widths_of(path)
    if len(widths) != 1:
        listed = list(dict.fromkeys(named[a].name for t in widths for a in atoms(t) if a in named))
        inside = [d.name for d in analysis.growable() if any(t.startswith(f"{path}.") for t in d.tensors)]
        known = listed or inside[:5] or [d.name for d in analysis.growable()][:5]
        what = f"has {len(widths)} widths in its output" if widths else "has no width in its output"
        advice = f"name a dimension instead: {known}" if known else "nothing in this network can grow"
        raise UnknownNameError(f"module '{path}' {what}; {advice}.")
    (term,) = widths
    after = new_size(wanted, size(term), path)
    if after < size(term):
        raise SizeError(f"'{path}' has size {size(term)}; {after} is smaller, and growth never shrinks. Ask for more.")
    yield from _distribute(term, after, path, named)


def _distribute(term: Term, after: int, path: str, named: Mapping[Atom, Dimension]) -> Iterator[tuple[str, int]]:
    """What takes the growth of an axis: its first factor that can; every part of a concatenation."""
    before = size(term)
    if isinstance(term, Atom):
        yield named[term].name, after
        return
    parts = _dimensions(term, named)
    free = [d for d in parts if d.growth != "fixed"]
    if not free:
        reasons = [f"'{d.name}': {d.reason}" for d in parts]
        raise FixedDimensionError(f"'{path}' can't grow: {'; '.join(reasons) or 'no part of its axis can'}.")
    if isinstance(term, Product):
        for dimension in free:
            new, rest = divmod(after * dimension.size, before)
            if not rest and (dimension.growth == "any" or new % dimension.size == 0):
                yield dimension.name, new
                return
        block = before // free[0].size if free[0].growth == "any" else before
        low = after // block * block
        raise SizeError(
            f"'{path}' grows in blocks of {block}; {after} is not a multiple. Sizes that work: {low} or {low + block}."
        )
    else:
        assert isinstance(term, Concat)
        alike = len(set(term.parts)) == 1  # gates, or the two halves of a gated unit
        growing = [part for part in term.parts if any(d.growth != "fixed" for d in _dimensions(part, named))]
        if len(growing) == 1:
            yield from _distribute(growing[0], size(growing[0]) + after - before, path, named)
            return
        if after % (len(term.parts) if alike else before):
            names = [d.name for d in parts]
            what = f"{len(term.parts)} times {names}" if alike else f"a concatenation of {names}"
            multiple = f"a multiple of {len(term.parts)}" if alike else "a whole multiple"
            raise SizeError(f"'{path}' is {what}; name the one to grow, or ask for {multiple}.")
        for part in dict.fromkeys(term.parts):
            yield from _distribute(part, size(part) * after // before, path, named)


def _dimensions(term: Term, named: Mapping[Atom, Dimension]) -> list[Dimension]:
    return [named[atom] for atom in dict.fromkeys(atoms(term)) if atom in named]
