"""Graph -> axes: which axes of which tensors are one and the same."""

from net2net.axes import rules as rules
from net2net.axes._inference import (
    Contraction,
    Flow,
    Inference,
    Normalisation,
    Reduction,
    base_name,
    flow_of,
    has_rule,
    holds_constants,
    infer,
    rule,
)
from net2net.axes._opened import Opened
from net2net.axes._patterns import readers, recognise_gains, recognise_rms, stored_gain
from net2net.axes._register import register_rule
from net2net.axes._terms import (
    UNIT,
    Atom,
    Concat,
    LockKind,
    Product,
    Term,
    atoms,
    head,
    lock,
    resolve,
    size,
    split,
    unflatten,
    unify,
)

__all__ = [
    "UNIT",
    "Atom",
    "Concat",
    "Contraction",
    "Flow",
    "Inference",
    "LockKind",
    "Normalisation",
    "Opened",
    "Product",
    "Reduction",
    "Term",
    "atoms",
    "base_name",
    "flow_of",
    "has_rule",
    "head",
    "holds_constants",
    "infer",
    "lock",
    "readers",
    "recognise_gains",
    "recognise_rms",
    "register_rule",
    "resolve",
    "rule",
    "size",
    "split",
    "stored_gain",
    "unflatten",
    "unify",
]
