"""Numbers and tables as the page shows them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

Table = tuple[Sequence[str], Iterable[Sequence[str]], Sequence[int]]  # headers, rows, columns to align to the right


def html_table(headers: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """A table that scrolls by itself where the window is narrow. The cells are HTML."""

    def line(cells: Sequence[str], tag: str) -> str:
        kinds = ["right" if i in right else "left" for i in range(len(cells))]
        inner = (f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))
        return f"<tr>{''.join(inner)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(headers, "th")}</thead><tbody>{body}</tbody></table></div>'


def percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}&nbsp;%"


def error(number: float) -> str:
    return f"{number:.1e}" if number else "0 (exact)"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def steps(found: list[int | None]) -> str:
    """Mean steps; with how many of the seeds got there if not all did."""
    reached = [s for s in found if s is not None]
    if not reached:
        return "never"
    mean = f"{statistics.fmean(reached):.0f}"
    return mean if len(reached) == len(found) else f"{mean} ({len(reached)} of {len(found)} seeds)"
