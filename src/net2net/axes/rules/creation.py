"""Tensors made on the spot. Where all entries are equal, an axis may have any size."""

from __future__ import annotations

from net2net.axes._inference import Axes, Flow, Inference, rule
from net2net.capture import Node


@rule("aten.zeros", "aten.ones", "aten.full", "aten.empty", "aten.new_zeros", "aten.new_ones", "aten.new_full",
      "aten.new_empty", "aten.scalar_tensor", "aten.empty_permuted", "aten.empty_strided", "aten.new_empty_strided",
      flow=Flow.NEW)  # fmt: skip
def uniform(inference: Inference, node: Node) -> list[Axes]:
    """Every entry is the same number."""
    return [tuple(inference.fresh(s) for s in node.output.shape)]


@rule("aten.arange", "aten.linspace", "aten.logspace", "aten.eye", "aten.rand", "aten.randn", "aten.randint",
      "aten.randperm", "aten.hann_window", "aten.tril_indices", "aten.triu_indices")  # fmt: skip
def numbered(inference: Inference, node: Node) -> list[Axes]:
    """The entries depend on their position, or are drawn at random."""
    return [inference.fixed(node, v.shape, "its places are numbered") for v in node.outputs]


@rule("aten.zeros_like", "aten.ones_like", "aten.full_like", "aten.empty_like", "aten.rand_like", "aten.randn_like",
      "aten.randint_like", flow=Flow.NEW)  # fmt: skip
def like(inference: Inference, node: Node) -> list[Axes]:
    """New entries in the shape of a tensor."""
    return [inference.of(node["self"])]
