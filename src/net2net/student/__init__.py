"""How the student's modules come to be: a copy of the teacher's with new tensors and new sizes."""

from net2net.student._attributes import Setting, numbers_in, settings_of
from net2net.student._compare import ChangedNumber, Mismatch, compare, operations
from net2net.student._deeper import PlaceError, draft_deeper
from net2net.student._draft import Blueprint, changed_buffers, draft, fill
from net2net.student._edited import Skeleton
from net2net.student._eps import eps_in_configs, take_eps
from net2net.student._fit import MAX_DRAFTS, Fit, Verdict
from net2net.student._initial import initial_values
from net2net.student._sizes import NewSizes
from net2net.student._trial import Trial

__all__ = [
    "MAX_DRAFTS",
    "Blueprint",
    "ChangedNumber",
    "Fit",
    "Mismatch",
    "NewSizes",
    "PlaceError",
    "Setting",
    "Skeleton",
    "Trial",
    "Verdict",
    "changed_buffers",
    "compare",
    "draft",
    "draft_deeper",
    "eps_in_configs",
    "fill",
    "initial_values",
    "numbers_in",
    "operations",
    "settings_of",
    "take_eps",
]
