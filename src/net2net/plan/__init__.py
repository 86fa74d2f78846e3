"""A growth as data: where every entry of the student comes from."""

from net2net.plan._axis_map import FRESH, AxisMap, Fresh
from net2net.plan._changes import Deepening, Preservation, Widening
from net2net.plan._file import plain
from net2net.plan._plan import Plan
from net2net.plan._table import plan_table
from net2net.plan._tensor_plan import Fill, Noise, TensorPlan

__all__ = [
    "FRESH",
    "AxisMap",
    "Deepening",
    "Fill",
    "Fresh",
    "Noise",
    "Plan",
    "Preservation",
    "TensorPlan",
    "Widening",
    "plain",
    "plan_table",
]
