"""The activation that follows a layer: a module of the network, or an operation that a forward calls by itself."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from net2net.axes import Flow, base_name, flow_of
from net2net.capture import Node, Value
from net2net.depth._activations import Function, acts_on_numbers, as_module, operation
from net2net.depth._regions import Regions


@dataclass(frozen=True)
class Activation:
    """What follows a layer: an operation, and the module that runs it, unless a forward calls it by itself."""

    node: Node
    module: nn.Module | None

    @property
    def name(self) -> str:
        return type(self.module).__name__ if self.module is not None else base_name(self.node.op)

    @property
    def slopes(self) -> np.ndarray | None:
        """The odd slope of each channel, if every channel has its own."""
        module = self.module
        return _odd_slopes(module) if isinstance(module, nn.PReLU) and module.num_parameters > 1 else None

    @property
    def function(self) -> Function:
        return _function_of(self.module) if self.module is not None else operation(self.node)

    def acts_on_numbers(self) -> bool:
        """Whether it is a function of each number by itself."""
        single = (self.node.pointwise or flow_of(self.node) is Flow.ZERO) and len(self.node.inputs) == 1
        if self.module is None and not single:
            return False
        return self.slopes is not None or acts_on_numbers(self.function)

    def as_module(self) -> nn.Module | None:
        return self.module if self.module is not None else as_module(self.node)


def activation_module(model: nn.Module, regions: Regions, value: Value) -> nn.Module | None:
    """The module with no weights of its own that reads the value and gives back one of the same shape: the smallest
    that holds all readers of the value."""
    paths = {n.module for n in value.consumers}
    path = next(iter(paths)) if len(paths) == 1 else ""
    while path:
        module = model.get_submodule(path)
        if _is_function(module) and len(regions.inputs(path)) == 1:
            return module
        path = path.rpartition(".")[0]
        if path and any(True for _ in model.get_submodule(path).parameters()):
            return None
    return None


def _is_function(module: nn.Module) -> bool:
    plain = not any(True for _ in module.buffers()) and not isinstance(module, (nn.ModuleList, nn.ModuleDict))
    return plain and (isinstance(module, nn.PReLU) or not any(True for _ in module.parameters()))


def _function_of(module: nn.Module) -> Function:
    module = copy.deepcopy(module).double().eval()

    def call(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            result: torch.Tensor = module(x)
        return result

    return call


def _odd_slopes(module: nn.PReLU) -> np.ndarray:
    """The s of each channel for which f(x) - f(-x) = s x; without weights (on the meta device) any."""
    if module.weight.is_meta:
        return np.ones(module.num_parameters)
    slopes: np.ndarray = 1 + module.weight.detach().double().cpu().numpy()
    return slopes
