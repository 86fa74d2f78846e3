"""Where a network can be made deeper: blocks that repeat, and layers that identity layers can follow."""

from net2net.depth._block import Block
from net2net.depth._edits import BlockEdit, Change, LayerEdit, block_edit
from net2net.depth._layers import Kernel, LayerPlace, find_layers, kernels_of
from net2net.depth._options import DepthOptions
from net2net.depth._order import INITS, NOT_PRESERVING, POSITIONS, PRESERVING, Order, Positions, order
from net2net.depth._periods import orders
from net2net.depth._places import DepthPlace, find_places
from net2net.depth._request import Depth, Wanted, Where, resolve_where
from net2net.depth._stack import Stack
from net2net.depth._stacks import find_stacks

__all__ = [
    "INITS",
    "NOT_PRESERVING",
    "POSITIONS",
    "PRESERVING",
    "Block",
    "BlockEdit",
    "Change",
    "Depth",
    "DepthOptions",
    "DepthPlace",
    "Kernel",
    "LayerEdit",
    "LayerPlace",
    "Order",
    "Positions",
    "Stack",
    "Wanted",
    "Where",
    "block_edit",
    "find_layers",
    "find_places",
    "find_stacks",
    "kernels_of",
    "order",
    "orders",
    "resolve_where",
]
