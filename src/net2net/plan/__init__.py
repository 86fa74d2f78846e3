"""Dimensions and a request -> a plan: where every entry of the student comes from."""

from net2net.plan import tolerance
from net2net.plan._compensate import Constant, compensate
from net2net.plan._growths import HOWS, UnitMap
from net2net.plan._maps import compose
from net2net.plan._noise import NOISES, NoiseSpec
from net2net.plan._plan import AxisMap, Deepening, Noise, Plan, TensorPlan, Widening
from net2net.plan._sites import Sites
from net2net.plan._width import WidthOptions, check_growth, plan_width, resize_unread

__all__ = [
    "HOWS",
    "NOISES",
    "AxisMap",
    "Constant",
    "Deepening",
    "Noise",
    "NoiseSpec",
    "Plan",
    "Sites",
    "TensorPlan",
    "UnitMap",
    "Widening",
    "WidthOptions",
    "check_growth",
    "compensate",
    "compose",
    "plan_width",
    "resize_unread",
    "tolerance",
]
