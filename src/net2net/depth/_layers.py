"""Where identity layers can go: after a layer and its normalisation, around the activation that follows."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from net2net.axes import Flow, Inference, base_name, flow_of
from net2net.capture import VIEWS, Node, Value, shown
from net2net.depth._activations import Function, acts_on_numbers, as_module, is_idempotent, odd_slope, operation
from net2net.depth._stacks import Regions, shared_modules

_MAXIMA = ("aten.amax", "aten.max")


# Of identity convolutions: one size for all axes, a size for each, or a list of such for a factorised pair.
Kernel = int | tuple[int, ...] | list[tuple[int, ...]] | None


@dataclass(frozen=True, eq=False)
class LayerPlace:
    """A place for identity layers: between `last` (a layer, or the normalisation after it) and its activation.

    With `activation` f and the identity U, `f(U f(x)) = f(x)` if f is idempotent ("identity"); if
    `f(x) - f(-x) = slope * x`, a mirrored pair of units gives x back ("mirror", with a slope for each channel if they
    differ); of `pieces` linear pieces the largest
    ("maxout"). `reason` says why there is no exact way.
    """

    path: str
    layer: nn.Module
    last: str
    last_module: nn.Module
    kind: Literal["identity", "mirror", "maxout"] | None
    activation: nn.Module | None
    channels: int
    slope: float | np.ndarray = 1.0
    has_bias: bool = True
    pieces: int = 1
    reason: str = ""

    @property
    def name(self) -> str:
        return shown(self.path)

    @property
    def axes(self) -> int:
        """How many axes of positions the layer has: 0 for a linear one."""
        return len(self.layer.kernel_size) if isinstance(self.layer, _ConvNd) else 0

    @property
    def norm(self) -> str | None:
        """The path of the BatchNorm between the layer and its activation, if there is one."""
        return self.last if isinstance(self.last_module, _BatchNorm) else None


def find_layers(inference: Inference, model: nn.Module) -> list[LayerPlace]:
    """Every layer that an activation follows, in the order of execution, with what is possible there."""
    regions = Regions(inference)
    calls = Counter(node.module for node in regions.nodes if _runs_layer(node))
    found: list[LayerPlace] = []
    shared = shared_modules(model)
    for node in regions.nodes:
        layer = model.get_submodule(node.module) if node.module else None
        if isinstance(layer, (nn.RNNBase, nn.RNNCellBase)) and all(p.path != node.module for p in found):
            found.append(_recurrent(node.module, layer))
        if id(layer) in shared:
            continue
        standard = isinstance(layer, (nn.Linear, _ConvNd)) and flow_of(node) is Flow.CONTRACT and _runs_layer(node)
        if layer is not None and standard and calls[node.module] == 1:
            place = _place(model, regions, node, layer, calls)
            if place is not None:
                found.append(place)
    return found


def _runs_layer(node: Node) -> bool:
    """Whether the operation is what a layer or a norm does, not one by which its weight is computed."""
    return flow_of(node) in (Flow.CONTRACT, Flow.AFFINE) and {"input", "weight"} <= node.arguments.keys()


def _recurrent(path: str, layer: nn.Module) -> LayerPlace:
    name = type(layer).__name__
    reason = (
        f"a further {name} can't be the identity, for its gates bend all that passes through them; of blocks "
        f"x + proj({name}(x)) further ones can be added"
    )
    return LayerPlace(path, layer, path, layer, None, None, 0, reason=reason)


def _place(model: nn.Module, regions: Regions, node: Node, layer: nn.Module, calls: Counter[str]) -> LayerPlace | None:
    value, last = node.output, node.module
    after = _only_reader(value)
    if after is not None and flow_of(after) is Flow.AFFINE and calls[after.module] == 1:
        if any(True for _ in model.get_submodule(after.module).children()):
            return None
        value, last = after.output, after.module
        after = _only_reader(value)
    if after is None or (flow_of(after) is Flow.PASS and not _pieces(after, _channels(layer))):
        return None
    outer = _activation_module(model, regions, value)
    channels = _channels(layer)

    def place(
        kind: Literal["identity", "mirror", "maxout"] | None,
        activation: nn.Module | None,
        **more: float | np.ndarray | int | str,
    ) -> LayerPlace:
        has_bias = node.get("bias") is not None
        module = model.get_submodule(last)
        return LayerPlace(node.module, layer, last, module, kind, activation, channels, has_bias=has_bias, **more)  # type: ignore[arg-type]

    pieces = _pieces(after, channels)
    if pieces:
        pooling = _maxout(value, after, pieces)
        return place("maxout", pooling, pieces=pieces) if pooling else None
    single = (after.pointwise or flow_of(after) is Flow.ZERO) and len(after.inputs) == 1
    if outer is None and not single:
        return None
    activation = outer if outer is not None else as_module(after)
    by_channel = isinstance(outer, nn.PReLU) and outer.num_parameters > 1
    function: Function = _function_of(outer) if outer is not None else operation(after)
    if not by_channel and not acts_on_numbers(function):
        return None
    name = type(outer).__name__ if outer is not None else base_name(after.op)
    norm = model.get_submodule(last)
    if isinstance(norm, _BatchNorm) and norm.running_mean is None:
        return place(None, None, reason=f"'{last}' keeps no statistics, so it can't be undone in eval mode")
    if base_name(after.op) == "aten.rrelu":
        return place(None, None, reason=f"{name} ({after.where}) is random in training")
    if not by_channel and is_idempotent(function):
        if activation is None:
            return place(None, None, reason=f"{after.where} is no module, and torch has none for it")
        return place("identity", activation)
    if isinstance(layer, _ConvNd) and (layer.groups > 1 or isinstance(layer, _ConvTransposeNd)):
        return place(None, None, reason=f"{name} needs mirrored units, which no {type(layer).__name__} in groups has")
    if last != node.module and not isinstance(model.get_submodule(last), _BatchNorm):
        return place(None, None, reason=f"{name} needs mirrored units, which the norm '{last}' would average over")
    elsewhere = [t for t in _tensors_of(node) if any(n is not node for n in t.consumers)]
    if elsewhere:
        reason = f"{name} needs mirrored units, and '{elsewhere[0].name}' is read elsewhere too"
        return place(None, None, reason=reason)
    if layer._parameters.get("weight") is None:
        reason = f"{name} needs mirrored units, and the weight of '{node.module}' is computed from others"
        return place(None, None, reason=reason)
    if isinstance(outer, nn.PReLU) and by_channel:
        if not isinstance(layer, _ConvNd) and len(value.shape) != 2:
            return place(None, None, reason=f"{name} ({after.where}) has a slope for each position, not for each unit")
        slopes = _odd_slopes(outer)
        even = np.flatnonzero(np.abs(slopes) <= 1e-3).tolist()
        if even:
            reason = f"an identity layer divides by 1 + slope, and {name} ({after.where}) has slope -1 for units {even}"
            return place(None, None, reason=reason)
        return place("mirror", outer, slope=slopes)
    slope = odd_slope(function)
    if slope is not None and activation is not None:
        return place("mirror", activation, slope=slope)
    return place(
        None,
        None,
        reason=f"an identity layer needs f(f(x)) = f(x) or f(x) - f(-x) = s x, and {name} ({after.where}) has neither",
    )


def _tensors_of(node: Node) -> list[Value]:
    return [v for v in (node.get("weight"), node.get("bias")) if isinstance(v, Value)]


def _channels(layer: nn.Module) -> int:
    assert isinstance(layer, (nn.Linear, _ConvNd))
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _only_reader(value: Value) -> Node | None:
    return value.consumers[0] if len(value.consumers) == 1 else None


def _activation_module(model: nn.Module, regions: Regions, value: Value) -> nn.Module | None:
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


def _pieces(node: Node, channels: int) -> int:
    """Of how many linear pieces each unit is the largest, where a view and a maximum follow: maxout."""
    if base_name(node.op) not in VIEWS:
        return 0
    reader = _only_reader(node.output)
    if reader is None or base_name(reader.op) not in _MAXIMA:
        return 0
    dim = reader.get("dim")
    dim = dim[0] if isinstance(dim, (list, tuple)) and len(dim) == 1 else dim
    shape, before = node.output.shape, node.inputs[0].shape
    if not isinstance(dim, int) or len(shape) != len(before) + 1 or reader.get("keepdim"):
        return 0
    dim %= len(shape)
    axis = len(before) - 1 if len(before) != 4 else 1
    return shape[dim] if dim == axis + 1 and shape[axis] * shape[dim] == channels else 0


def _maxout(value: Value, node: Node, pieces: int) -> nn.Module | None:
    """A torch module for the maximum over each run of pieces: pooling along the units."""
    dims = len(value.shape)
    return nn.MaxPool1d(pieces) if dims in (2, 3) else nn.MaxPool3d((pieces, 1, 1)) if dims == 4 else None


def kernels_of(layer: nn.Module, kernel: Kernel) -> Iterator[tuple[int, ...]]:
    """The kernel of each identity convolution: the layer's own where it is odd, or the ones asked for."""
    assert isinstance(layer, _ConvNd)
    dims = len(layer.kernel_size)
    if kernel is None:
        yield tuple(int(k) if k % 2 else int(k) + 1 for k in layer.kernel_size)
        return
    asked = kernel if isinstance(kernel, list) else [kernel]
    for one in asked:
        yield (one,) * dims if isinstance(one, int) else one
