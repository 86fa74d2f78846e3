"""The parts of the proof: copies of the models, inputs, forwards side by side, and where a student departs."""

from net2net._proof._departure import first_departure
from net2net._proof._error import relative_error
from net2net._proof._inputs import Arguments, move, variants
from net2net._proof._measure import MODES, Measured, measure
from net2net._proof._models import cloned, copy_in, device_of, dtype_of, with_zeros_drawn
from net2net._proof._run import ForwardError

__all__ = [
    "MODES",
    "Arguments",
    "ForwardError",
    "Measured",
    "cloned",
    "copy_in",
    "device_of",
    "dtype_of",
    "first_departure",
    "measure",
    "move",
    "relative_error",
    "variants",
    "with_zeros_drawn",
]
