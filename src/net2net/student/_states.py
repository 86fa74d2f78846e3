"""States at their start, kept as tensors that are no buffers: zeros, which a student has at its own size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from net2net.capture import kept_tensors
from net2net.student._sizes import NewSizes


def resized_states(teacher: nn.Module, sizes: NewSizes) -> dict[str, tuple[int, ...]]:
    """The student's shape of every state of zeros that a module keeps, by the state's place."""
    graph = sizes.inference.graph
    values = {v.name: v for node in graph.nodes for v in node.inputs if v.kind == "constant" and v.zeros}
    kept = kept_tensors(teacher)
    shapes = {id(kept[n]): sizes.shape(v) for n, v in values.items() if n in kept}
    return {
        place: shapes[id(tensor)]
        for place, tensor in kept.items()
        if id(tensor) in shapes and shapes[id(tensor)] != tuple(tensor.shape)
    }


def grown_states(teacher: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> dict[int, torch.Tensor]:
    """What a student has in the place of each of these states, by the identity of the teacher's; one tensor in several
    places stays one."""
    kept = kept_tensors(teacher) if shapes else {}
    return {id(kept[place]): kept[place].new_zeros(shape) for place, shape in shapes.items()}
