"""net2net: make a trained neural network bigger without losing what it has learned."""

import importlib
import warnings
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from net2net import nexus as nexus
from net2net import training as training
from net2net._version import __version__ as __version__
from net2net.analysis import Analysis, Dimension, Place, analyze
from net2net.axes import register_rule
from net2net.chain import Chain, FeatureDistillation, LogitsDistillation
from net2net.depth import DepthPlace
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
from net2net.growth import Growth, GrowthLog, LogEntry, Twins, read_log, twins
from net2net.huggingface import grow_checkpoint, surgery_checkpoint, upcycle_checkpoint
from net2net.moe import attach_replicas, balance_experts, expert_scores, release_routing, save_replicas, upcycle
from net2net.operators import deepen, grow, replay, transfer, widen
from net2net.optimizer import register_optimizer
from net2net.plan import Plan
from net2net.proof import Verification, verify
from net2net.surgeries import Features, surgery
from net2net.width import NoiseSpec, UnitMap, UnitRequest, register_how

if _TYPE_CHECKING:
    from net2net.exploration import explore

__all__ = [
    "Analysis",
    "CaptureError",
    "Chain",
    "CheckpointError",
    "CouplingError",
    "DepthPlace",
    "Dimension",
    "FeatureDistillation",
    "Features",
    "FixedDimensionError",
    "Growth",
    "GrowthError",
    "GrowthLog",
    "LogEntry",
    "LogitsDistillation",
    "MissingExtraError",
    "Net2NetWarning",
    "NoiseSpec",
    "OptionError",
    "Place",
    "Plan",
    "SizeError",
    "StudentMismatchError",
    "Twins",
    "UnitMap",
    "UnitRequest",
    "UnknownNameError",
    "Verification",
    "VerificationError",
    "analyze",
    "attach_replicas",
    "balance_experts",
    "deepen",
    "expert_scores",
    "explore",
    "grow",
    "grow_checkpoint",
    "read_log",
    "register_how",
    "register_optimizer",
    "register_rule",
    "release_routing",
    "replay",
    "save_replicas",
    "surgery",
    "surgery_checkpoint",
    "transfer",
    "twins",
    "upcycle",
    "upcycle_checkpoint",
    "verify",
    "widen",
]

# Names whose rooms need an extra, or are slow to import: imported at their first use.
_LAZY = {"explore": "exploration"}
# Until 0.1.0 these were modules of the root and looked public; the names go with the release after the next.
_MOVED = {
    "deepening": "operators",
    "dimensions": "analysis",
    "growing": "operators",
    "replaying": "operators",
    "request": "analysis",
    "transferring": "operators",
    "widening": "operators",
}


def __getattr__(name: str) -> _Any:
    """A name that is imported at its first use, or an old module of the root, as the room that has its names now."""
    if name in _LAZY:
        found = getattr(importlib.import_module(f"net2net.{_LAZY[name]}"), name)
        globals()[name] = found
        return found
    if name in ("distributed", "rl"):  # rooms that are slow to import, or need an extra
        return importlib.import_module(f"net2net.{name}")
    if name not in _MOVED:
        raise AttributeError(f"module 'net2net' has no attribute '{name}'")
    new = f"net2net.{_MOVED[name]}"
    warnings.warn(
        f"net2net.{name} is now {new}, which is private. Use the names of `net2net` itself, such as net2net.widen.",
        DeprecationWarning,
        stacklevel=2,
    )
    return importlib.import_module(new)
