"""Plan -> weights: everything that executes a plan reads the same data."""

from net2net.apply._optimizer import RAMP_KEY, RATES, grow_optimizer, has_ended, student_groups
from net2net.apply._optimizer_rules import register_optimizer
from net2net.apply._pieces import bounds, pieces
from net2net.apply._scheduler import grow_scheduler
from net2net.apply._tensors import grow_state, grow_tensor, make_piece, root_mean_square

__all__ = [
    "RAMP_KEY",
    "RATES",
    "bounds",
    "grow_optimizer",
    "grow_scheduler",
    "grow_state",
    "grow_tensor",
    "has_ended",
    "make_piece",
    "pieces",
    "register_optimizer",
    "root_mean_square",
    "student_groups",
]
