"""A finished growth: the student, its plan, its proof."""

from net2net.growth._carry_out import carried_out, require_tensors, state_of
from net2net.growth._combine import one_growth
from net2net.growth._growth import Growth, compiled_alike, twins
from net2net.growth._new_units import never_trained, new_tensors
from net2net.growth._proved import proved
from net2net.growth._twins import Twins

__all__ = [
    "Growth",
    "Twins",
    "carried_out",
    "compiled_alike",
    "never_trained",
    "new_tensors",
    "one_growth",
    "proved",
    "require_tensors",
    "state_of",
    "twins",
]
