"""Where identity layers can go: after a layer and its normalisation, around the activation that follows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from net2net.axes import Flow, Inference, base_name, flow_of
from net2net.capture import VIEWS, Node, Value, shown
from net2net.depth._activations import is_idempotent, odd_slope
from net2net.depth._after import Activation, activation_module
from net2net.depth._regions import Regions
from net2net.depth._stacks import shared_modules

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
    found = _after_layer(model, node, calls)
    if found is None:
        return None
    value, last, after = found
    base = LayerPlace(
        node.module,
        layer,
        last,
        model.get_submodule(last),
        None,
        None,
        _channels(layer),
        has_bias=node.get("bias") is not None,
    )
    pieces = _pieces(after, base.channels)
    if pieces:
        pooling = _pooling(len(value.shape), pieces)
        return replace(base, kind="maxout", activation=pooling, pieces=pieces) if pooling else None
    if flow_of(after) is Flow.PASS:
        return None
    activation = Activation(after, activation_module(model, regions, value))
    return _classified(base, node, value, activation) if activation.acts_on_numbers() else None


def _after_layer(model: nn.Module, node: Node, calls: Counter[str]) -> tuple[Value, str, Node] | None:
    """What a layer gives, after its norm if it has one; the module that gives it, and the one operation that reads
    it."""
    value, last = node.output, node.module
    after = _only_reader(value)
    if after is not None and flow_of(after) is Flow.AFFINE and calls[after.module] == 1:
        if any(True for _ in model.get_submodule(after.module).children()):
            return None
        value, last = after.output, after.module
        after = _only_reader(value)
    return None if after is None else (value, last, after)


def _classified(base: LayerPlace, node: Node, value: Value, activation: Activation) -> LayerPlace:
    """The place with its kind, or with the reason why there is none."""
    name, where, slopes = activation.name, activation.node.where, activation.slopes
    if isinstance(base.last_module, _BatchNorm) and base.last_module.running_mean is None:
        return replace(base, reason=f"'{base.last}' keeps no statistics, so it can't be undone in eval mode")
    if base_name(activation.node.op) == "aten.rrelu":
        return replace(base, reason=f"{name} ({where}) is random in training")
    module = activation.as_module()
    if slopes is None and is_idempotent(activation.function):
        if module is None:
            return replace(base, reason=f"{where} is not a module, and torch has none for it")
        return replace(base, kind="identity", activation=module)
    obstacle = _against_mirrors(base, node)
    if obstacle is not None:
        return replace(base, reason=f"{name} needs mirrored units, {obstacle}")
    if slopes is not None:
        reason = _against_slopes(base.layer, value, slopes, f"{name} ({where})")
        return replace(base, reason=reason) if reason else replace(base, kind="mirror", activation=module, slope=slopes)
    slope = odd_slope(activation.function)
    if slope is not None and module is not None:
        return replace(base, kind="mirror", activation=module, slope=slope)
    needs = "an identity layer needs f(f(x)) = f(x) or f(x) - f(-x) = s x"
    return replace(base, reason=f"{needs}, and {name} ({where}) has neither")


def _against_mirrors(base: LayerPlace, node: Node) -> str | None:
    """Why a layer can't have each unit twice, once with the opposite sign."""
    layer = base.layer
    if isinstance(layer, _ConvNd) and (layer.groups > 1 or isinstance(layer, _ConvTransposeNd)):
        return f"which no {type(layer).__name__} in groups has"
    if base.last != base.path and base.norm is None:
        return f"which the norm '{base.last}' would average over"
    elsewhere = [t for t in _tensors_of(node) if any(n is not node for n in t.consumers)]
    if elsewhere:
        return f"and '{elsewhere[0].name}' is read elsewhere too"
    if layer._parameters.get("weight") is None:
        return f"and the weight of '{base.path}' is computed from others"
    return None


def _against_slopes(layer: nn.Module, value: Value, slopes: np.ndarray, activation: str) -> str:
    """Why a slope for each channel can't be undone; empty where it can."""
    if not isinstance(layer, _ConvNd) and len(value.shape) != 2:
        return f"{activation} has a slope for each position, not for each unit"
    even = np.flatnonzero(np.abs(slopes) <= 1e-3).tolist()
    return f"an identity layer divides by 1 + slope, and {activation} has slope -1 for units {even}" if even else ""


def _tensors_of(node: Node) -> list[Value]:
    return [v for v in (node.get("weight"), node.get("bias")) if isinstance(v, Value)]


def _channels(layer: nn.Module) -> int:
    assert isinstance(layer, (nn.Linear, _ConvNd))
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _only_reader(value: Value) -> Node | None:
    return value.consumers[0] if len(value.consumers) == 1 else None


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


def _pooling(dims: int, pieces: int) -> nn.Module | None:
    """A torch module for the maximum over each run of pieces of a tensor: pooling along its units."""
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
