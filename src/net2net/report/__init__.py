"""Plain-text tables of what was found, planned and measured."""

from net2net.report._growth import growth_summary, twins_table
from net2net.report._tables import (
    dimension_rows,
    dimension_table,
    place_rows,
    place_table,
    plan_table,
    starred,
    table,
    verification_table,
)

__all__ = [
    "dimension_rows",
    "dimension_table",
    "growth_summary",
    "place_rows",
    "place_table",
    "plan_table",
    "starred",
    "table",
    "twins_table",
    "verification_table",
]
