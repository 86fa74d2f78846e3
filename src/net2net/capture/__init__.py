"""Model -> graph: what the network computes, as data."""

from net2net.capture._arguments import (
    odd_weight,
    require_inputs,
    require_module,
    require_request,
    require_teacher,
    require_weights,
)
from net2net.capture._compiled import compile_again, shown, uncompiled
from net2net.capture._examples import Example, Inputs, Methods, examples_of, split_inputs
from net2net.capture._export import capture
from net2net.capture._fake import devices_of, without_memory
from net2net.capture._families import CASTS, COPIES, DROPOUTS, MOVES, STRETCHES, VIEWS
from net2net.capture._graph import Graph, Node, Value
from net2net.capture._held import optimizers_in
from net2net.capture._kept import kept_tensors
from net2net.capture._marks import carry, lost
from net2net.capture._modes import as_called
from net2net.capture._observers import unobserved
from net2net.capture._quiet import silent
from net2net.capture._reasons import refuse_unfit
from net2net.capture._record import Stopped, record
from net2net.capture._signature import dotted, named_outputs, with_inputs
from net2net.capture._steady import steady
from net2net.capture._structure import structural_copy
from net2net.capture._train_mode import with_train_mode
from net2net.capture._unknown import UnknownSize

__all__ = [
    "CASTS",
    "COPIES",
    "DROPOUTS",
    "MOVES",
    "STRETCHES",
    "VIEWS",
    "Example",
    "Graph",
    "Inputs",
    "Methods",
    "Node",
    "Stopped",
    "UnknownSize",
    "Value",
    "as_called",
    "capture",
    "carry",
    "compile_again",
    "devices_of",
    "dotted",
    "examples_of",
    "kept_tensors",
    "lost",
    "named_outputs",
    "odd_weight",
    "optimizers_in",
    "record",
    "refuse_unfit",
    "require_inputs",
    "require_module",
    "require_request",
    "require_teacher",
    "require_weights",
    "shown",
    "silent",
    "split_inputs",
    "steady",
    "structural_copy",
    "uncompiled",
    "unobserved",
    "with_inputs",
    "with_train_mode",
    "without_memory",
]
