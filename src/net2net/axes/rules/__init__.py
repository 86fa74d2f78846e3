"""What each operation says about axes: one file per family. A new operation is one function here.

Importing this package registers every rule.
"""

from net2net.axes.rules import (
    attention,
    contraction,
    convolution,
    creation,
    frequency,
    grouped,
    indexing,
    joining,
    linear,
    normalisation,
    pointwise,
    pooling,
    recurrent,
    reduction,
    shape,
    spatial,
    writing,
)

__all__ = [
    "attention",
    "contraction",
    "convolution",
    "creation",
    "frequency",
    "grouped",
    "indexing",
    "joining",
    "linear",
    "normalisation",
    "pointwise",
    "pooling",
    "recurrent",
    "reduction",
    "shape",
    "spatial",
    "writing",
]
