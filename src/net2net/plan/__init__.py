"""A growth as data: where every entry of the student comes from."""

from net2net.plan._axis_map import FRESH, AxisMap, Fresh
from net2net.plan._changes import Change, Deepening, Preservation, Row, Widening, change, weakest
from net2net.plan._file import Arrays, Store, plain
from net2net.plan._plan import Plan, check_seed
from net2net.plan._shift import Shift
from net2net.plan._tensor_plan import Fill, Noise, TensorPlan

__all__ = [
    "FRESH",
    "Arrays",
    "AxisMap",
    "Change",
    "Deepening",
    "Fill",
    "Fresh",
    "Noise",
    "Plan",
    "Preservation",
    "Row",
    "Shift",
    "Store",
    "TensorPlan",
    "Widening",
    "change",
    "check_seed",
    "plain",
    "weakest",
]
