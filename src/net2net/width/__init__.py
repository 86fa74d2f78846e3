"""Dimensions and sizes -> a plan."""

from net2net.width._compensate import Constant, compensate
from net2net.width._options import NOISES, NoiseSpec, WidthOptions
from net2net.width._planner import check_growth, plan_width
from net2net.width._scales import with_scales
from net2net.width._units import UnitMap, UnitRequest, even_shares, how_of, hows, register_how, uneven_shares

__all__ = [
    "NOISES",
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
    "uneven_shares",
    "with_scales",
]
