"""Model -> graph: what the network computes, as data."""

from net2net.capture._export import capture, split_inputs
from net2net.capture._graph import Graph, Node, Value
from net2net.capture._structure import structural_copy

__all__ = ["Graph", "Node", "Value", "capture", "split_inputs", "structural_copy"]
