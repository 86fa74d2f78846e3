"""How a table of text, a page and a figure look."""

from net2net.report._html import Table, count, error, html_table, percent, steps
from net2net.report._style import STYLE
from net2net.report._svg import svg
from net2net.report._text import starred, table

__all__ = [
    "STYLE",
    "Table",
    "count",
    "error",
    "html_table",
    "percent",
    "starred",
    "steps",
    "svg",
    "table",
]
