"""Dimensions and sizes -> a plan."""

from net2net.width._compensate import Constant, compensate
from net2net.width._options import NOISES, NoiseSpec, WidthOptions
from net2net.width._planner import check_growth, plan_width
from net2net.width._scales import with_scales
from net2net.width._units import HOWS, UnitMap

__all__ = [
    "HOWS",
    "NOISES",
    "Constant",
    "NoiseSpec",
    "UnitMap",
    "WidthOptions",
    "check_growth",
    "compensate",
    "plan_width",
    "with_scales",
]
