"""Plan -> weights: everything that executes a plan reads the same data."""

from net2net.apply._tensors import grow_state, grow_tensor

__all__ = ["grow_state", "grow_tensor"]
