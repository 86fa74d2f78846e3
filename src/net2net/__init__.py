"""net2net: make a trained neural network bigger without losing what it has learned."""

__version__ = "0.1.0"

from net2net import training as training
from net2net._twins import Twins, twins
from net2net.apply import register_optimizer
from net2net.deepening import deepen
from net2net.depth import DepthPlace
from net2net.dimensions import Analysis, Dimension, Place, analyze
from net2net.errors import (
    CaptureError,
    CheckpointError,
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
from net2net.growing import grow
from net2net.growth import Growth
from net2net.huggingface import grow_checkpoint
from net2net.plan import NoiseSpec, Plan
from net2net.replaying import replay
from net2net.transferring import transfer
from net2net.verify import Verification, verify
from net2net.widening import widen

__all__ = [
    "Analysis",
    "CaptureError",
    "CheckpointError",
    "CouplingError",
    "DepthPlace",
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
    "Twins",
    "UnknownNameError",
    "Verification",
    "VerificationError",
    "analyze",
    "deepen",
    "grow",
    "grow_checkpoint",
    "register_optimizer",
    "replay",
    "transfer",
    "twins",
    "verify",
    "widen",
]
