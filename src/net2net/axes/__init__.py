"""Graph -> axes: which axes of which tensors are one and the same."""

from net2net.axes import rules
from net2net.axes._inference import (
    Contraction,
    Flow,
    Inference,
    Normalisation,
    Reduction,
    flow_of,
    infer,
    rule,
)
from net2net.axes._patterns import recognise_rms
from net2net.axes._terms import UNIT, Atom, Concat, Product, Term, atoms, head, lock, resolve, size

__all__ = [
    "UNIT",
    "Atom",
    "Concat",
    "Contraction",
    "Flow",
    "Inference",
    "Normalisation",
    "Product",
    "Reduction",
    "Term",
    "atoms",
    "flow_of",
    "head",
    "infer",
    "lock",
    "recognise_rms",
    "resolve",
    "rule",
    "rules",
    "size",
]
