"""Text tables for the terminal, without any dependency."""

from __future__ import annotations

import re
from collections.abc import Sequence

# A number among the parts of a path: the place in a list.
_INDEX = re.compile(r"(?<![^.'])\d+(?![^.'])")


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """A text table; the columns in `right` are aligned to the right."""
    widths = [max(len(row[i]) for row in [headers, *rows]) for i in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([line(headers), line(["-" * w for w in widths]), *map(line, rows)])


def starred(name: str) -> str:
    """The name with `*` for the numbers of layers."""
    return _INDEX.sub("*", name)
