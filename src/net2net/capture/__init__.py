"""Model -> graph: what the network computes, as data."""

from net2net.capture._export import capture, plain_operations
from net2net.capture._fake import devices_of, without_memory
from net2net.capture._graph import Graph, Node, Value
from net2net.capture._signature import Inputs, named_outputs, split_inputs
from net2net.capture._structure import has_dynamic_positions, in_pretrained, is_pretrained, structural_copy

__all__ = [
    "Graph",
    "Inputs",
    "Node",
    "Value",
    "capture",
    "devices_of",
    "has_dynamic_positions",
    "in_pretrained",
    "is_pretrained",
    "named_outputs",
    "plain_operations",
    "split_inputs",
    "structural_copy",
    "without_memory",
]
