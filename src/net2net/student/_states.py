"""States at their start, kept as tensors that are no buffers: zeros, which a student has at its own size."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from net2net.student._sizes import NewSizes


def resized_states(teacher: nn.Module, sizes: NewSizes) -> dict[str, tuple[int, ...]]:
    """The student's shape of every attribute that holds a state of zeros, by the attribute's path."""
    graph = sizes.inference.graph
    values = {v.name: v for node in graph.nodes for v in node.inputs if v.kind == "constant" and v.zeros}
    attributes = _attributes(teacher)
    shapes = {id(attributes[n]): sizes.shape(v) for n, v in values.items() if n in attributes}
    return {
        place: shapes[id(tensor)]
        for place, tensor in attributes.items()
        if id(tensor) in shapes and shapes[id(tensor)] != tuple(tensor.shape)
    }


def set_states(student: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Give a student its states, in place; one tensor under several names stays one."""
    before = _attributes(student)
    made: dict[int, torch.Tensor] = {}
    for place, shape in shapes.items():
        owner, _, name = place.rpartition(".")
        new = made.setdefault(id(before[place]), before[place].new_zeros(shape))
        vars(student.get_submodule(owner))[name] = new


def _attributes(model: nn.Module) -> dict[str, torch.Tensor]:
    return {
        f"{path}.{name}" if path else name: value
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if isinstance(value, torch.Tensor)
    }
