"""What of a network can grow, by name; and what a request means."""

from net2net.analysis._analysis import Analysis
from net2net.analysis._analyze import analyze, analyze_examples, analyze_modes
from net2net.analysis._candidates import Candidate, candidates, kind_of
from net2net.analysis._dimensions import Dimension, Place
from net2net.analysis._further import lists_dimensions
from net2net.analysis._request import Request, Size, meant_by, new_size, resolve_request
from net2net.analysis._tables import dimension_rows, place_rows
from net2net.analysis._unread import apart_from_unread, unread_parts, with_notes

__all__ = [
    "Analysis",
    "Candidate",
    "Dimension",
    "Place",
    "Request",
    "Size",
    "analyze",
    "analyze_examples",
    "analyze_modes",
    "apart_from_unread",
    "candidates",
    "dimension_rows",
    "kind_of",
    "lists_dimensions",
    "meant_by",
    "new_size",
    "place_rows",
    "resolve_request",
    "unread_parts",
    "with_notes",
]
