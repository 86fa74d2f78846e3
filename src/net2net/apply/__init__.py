"""Plan -> tensors, whole or in pieces."""

from net2net.apply._pieces import PIECE, bounds, pieces
from net2net.apply._shifts import OPERATIONS, value_of
from net2net.apply._tensors import grow_one, grow_state, make_piece, root_mean_square
from net2net.apply._threads import alone, in_threads, one_core_each, threads

__all__ = [
    "OPERATIONS",
    "PIECE",
    "alone",
    "bounds",
    "grow_one",
    "grow_state",
    "in_threads",
    "make_piece",
    "one_core_each",
    "pieces",
    "root_mean_square",
    "threads",
    "value_of",
]
