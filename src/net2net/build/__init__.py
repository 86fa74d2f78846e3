"""How the student module comes to be: a copy of the teacher's modules with new tensors and new sizes."""

from net2net.build._attributes import Setting, numbers_in, settings_of
from net2net.build._compare import ChangedNumber, Mismatch, compare, operations
from net2net.build._config import EpsError
from net2net.build._deeper import draft_deeper
from net2net.build._fit import Fit, Verdict
from net2net.build._restructure import Skeleton
from net2net.build._sizes import NewSizes
from net2net.build._student import Blueprint, changed_buffers, draft, fill, pretrained_in
from net2net.build._trial import Trial

__all__ = [
    "Blueprint",
    "ChangedNumber",
    "EpsError",
    "Fit",
    "Mismatch",
    "NewSizes",
    "Setting",
    "Skeleton",
    "Trial",
    "Verdict",
    "changed_buffers",
    "compare",
    "draft",
    "draft_deeper",
    "fill",
    "numbers_in",
    "operations",
    "pretrained_in",
    "settings_of",
]
