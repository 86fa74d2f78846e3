"""Figures of matplotlib as text of an SVG."""

from __future__ import annotations

import io
import re
from typing import Any


def svg(figure: Any, description: str) -> str:
    """The figure as one <svg> element, the same for the same numbers; it scales with the page."""
    buffer = io.StringIO()
    none = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=none)
    text = buffer.getvalue()
    element = text[text.index("<svg") :].strip().replace("<svg", f'<svg role="img" aria-label="{description}"', 1)
    return re.sub(r' (width|height)="[\d.]+pt"', "", element, count=2) + "\n"
