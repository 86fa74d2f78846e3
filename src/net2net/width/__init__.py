"""Dimensions and sizes -> a plan."""

from net2net.width._compensate import Constant, compensate
from net2net.width._options import NoiseSpec, WidthOptions
from net2net.width._planner import check_growth, plan_width
from net2net.width._scales import with_scales
from net2net.width._units import UnitMap, UnitRequest, even_shares, how_of, hows, register_how

__all__ = [
    "Constant",
    "NoiseSpec",
    "UnitMap",
    "UnitRequest",
    "WidthOptions",
    "check_growth",
    "compensate",
    "even_shares",
    "how_of",
    "hows",
    "plan_width",
    "register_how",
    "with_scales",
]
