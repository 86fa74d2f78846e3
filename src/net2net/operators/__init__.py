"""Widen, deepen, both, transfer, and replay."""

from net2net.operators._alive import told
from net2net.operators._bare import planned
from net2net.operators._between import plan_of
from net2net.operators._calibrate import Calibration
from net2net.operators._deepen import deepen
from net2net.operators._grow import grow
from net2net.operators._made import Made, replays
from net2net.operators._planned import plan_transfer
from net2net.operators._replay import carried_along, replay
from net2net.operators._transfer import transfer
from net2net.operators._widen import widen
from net2net.operators._width_design import WidthDesigner

__all__ = [
    "Calibration",
    "Made",
    "WidthDesigner",
    "carried_along",
    "deepen",
    "grow",
    "plan_of",
    "plan_transfer",
    "planned",
    "replay",
    "replays",
    "told",
    "transfer",
    "widen",
]
