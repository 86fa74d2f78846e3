"""net2net: make a trained neural network bigger without losing what it has learned."""

__version__ = "0.1.0"

from net2net.deepening import deepen
from net2net.dimensions import Analysis, Dimension, Place, analyze
from net2net.errors import (
    CaptureError,
    CouplingError,
    FixedDimensionError,
    GrowthError,
    MissingExtraError,
    Net2NetWarning,
    OptionError,
    SizeError,
    StudentMismatchError,
    UnknownNameError,
    VerificationError,
)
from net2net.growth import Growth, transfer, widen
from net2net.plan import NoiseSpec, Plan
from net2net.verify import Verification, verify

__all__ = [
    "Analysis",
    "CaptureError",
    "CouplingError",
    "Dimension",
    "FixedDimensionError",
    "Growth",
    "GrowthError",
    "MissingExtraError",
    "Net2NetWarning",
    "NoiseSpec",
    "OptionError",
    "Place",
    "Plan",
    "SizeError",
    "StudentMismatchError",
    "UnknownNameError",
    "Verification",
    "VerificationError",
    "analyze",
    "deepen",
    "transfer",
    "verify",
    "widen",
]
