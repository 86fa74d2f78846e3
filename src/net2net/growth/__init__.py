"""A finished growth: the student, its plan, its proof."""

from net2net.growth._carry_out import carried_out, require_tensors, state_of
from net2net.growth._growth import Growth, compiled_alike, noted, proved, twins
from net2net.growth._known import Known, known_of_depth, known_of_units, known_of_width
from net2net.growth._log import GrowthLog, LogEntry, append, read_log
from net2net.growth._measures import measures
from net2net.growth._twins import Twins

__all__ = [
    "Growth",
    "GrowthLog",
    "Known",
    "LogEntry",
    "Twins",
    "append",
    "carried_out",
    "compiled_alike",
    "known_of_depth",
    "known_of_units",
    "known_of_width",
    "measures",
    "noted",
    "proved",
    "read_log",
    "require_tensors",
    "state_of",
    "twins",
]
