"""Plan -> weights: everything that executes a plan reads the same data."""

from net2net.apply._pieces import bounds, pieces
from net2net.apply._tensors import grow_state, grow_tensor, make_piece, root_mean_square

__all__ = ["bounds", "grow_state", "grow_tensor", "make_piece", "pieces", "root_mean_square"]
