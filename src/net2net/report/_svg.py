"""Figures of matplotlib as text of an SVG."""

from __future__ import annotations

import io
import re
from html import escape
from typing import Any


def svg(figure: Any, description: str) -> str:
    """The figure as one <svg> element, the same for the same numbers; it scales with the page."""
    buffer = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=none)
    text = buffer.getvalue()
    start = f'<svg role="img" aria-label="{escape(description)}"'
    element = text[text.index("<svg") :].strip().replace("<svg", start, 1)
    element = re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2)
    # A hundredth of a point can't be seen; digits beyond it are half of the file.
    return re.sub(r'(?<= )(?:d|x|y)="[^"]*"', lambda found: _rounded(found[0]), element) + "\n"


def _rounded(attribute: str) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), attribute)
