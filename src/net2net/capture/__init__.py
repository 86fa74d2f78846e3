"""Model -> graph: what the network computes, as data."""

from net2net.capture._export import capture
from net2net.capture._graph import Graph, Node, Value
from net2net.capture._signature import Inputs, named_outputs, split_inputs
from net2net.capture._structure import has_dynamic_positions, in_pretrained, is_pretrained, structural_copy

__all__ = [
    "Graph",
    "Inputs",
    "Node",
    "Value",
    "capture",
    "has_dynamic_positions",
    "in_pretrained",
    "is_pretrained",
    "named_outputs",
    "split_inputs",
    "structural_copy",
]
