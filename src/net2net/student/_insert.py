"""Identity layers, inserted after a layer: an activation, a layer that gives back what stood before it, a BatchNorm."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from net2net.depth import LayerEdit, LayerPlace
from net2net.plan import AxisMap, TensorPlan
from net2net.student._deepened import Deepened
from net2net.student._edited import Edited, as_it_is, direct_tensors
from net2net.student._repeat import refill


def insert_layers(edited: Edited, edit: LayerEdit) -> None:
    place = edit.place
    owner = edited.modules[place.last.rpartition(".")[0]]
    layer, last = edited.modules[place.path], edited.modules[place.last]
    name = next(n for n, m in owner._modules.items() if m is last)
    if place.kind == "mirror":
        _mirror(edited, layer, place)
        if last is not layer:
            _mirror(edited, last, place)
    made: list[nn.Module] = []
    for k, kernel in enumerate(edit.kernels):
        is_last = k == len(edit.kernels) - 1
        made += _identity_layer(edited, edit, layer, last, kernel, mirrored=place.kind == "mirror" and not is_last)
    for module in made:
        module.train(last.training)
    if type(owner).forward in (nn.Sequential.forward, Deepened.forward):
        children = list(owner._modules.items())
        at = [n for n, _ in children].index(name) + 1
        labels = [f"{name}_deeper{i + 1}" for i in range(len(made))]
        refill(owner, [*children[:at], *zip(labels, made, strict=True), *children[at:]])
    else:
        owner._modules[name] = Deepened(last, *made).train(last.training)


def _mirror(edited: Edited, module: nn.Module, place: LayerPlace) -> None:
    """Give a layer, or its BatchNorm, each unit twice: as it is and with the opposite sign."""
    n = place.channels
    source = np.concatenate([np.arange(n), np.arange(n)])
    signs = np.concatenate([np.ones(n), -np.ones(n)])
    for name, tensor in direct_tensors(module):
        if tensor.dim() == 0:
            continue
        even = isinstance(module, _BatchNorm) and name in ("weight", "running_var")
        # Where f(x) - f(-x) = s x, the slopes at x and -x sum to s: on average each twin gets half the gradient.
        twins = AxisMap(source, None if even else signs, gradient=np.full(2 * n, 0.5) if even else signs / 2)
        axes = (twins, *(None,) * (tensor.dim() - 1))
        shape = (2 * n, *tensor.shape[1:])
        own = edited.names[id(tensor)][0]
        edited.replace_tensor(module, name, tensor, TensorPlan(shape, axes, source=own), mirrored=True)
    _resize(module)


def _identity_layer(
    edited: Edited, edit: LayerEdit, layer: nn.Module, last: nn.Module, kernel: tuple[int, ...] | None, mirrored: bool
) -> list[nn.Module]:
    """An activation, a layer that gives back what stood before it, and its BatchNorm."""
    place, n = edit.place, edit.place.channels
    assert place.activation is not None
    activation = copy.deepcopy(edited.same(place.activation))
    twice = place.kind == "mirror" and isinstance(place.slope, np.ndarray)  # a slope for each channel
    for name, tensor in direct_tensors(edited.same(place.activation)):
        plan = as_it_is(tensor, edited.names[id(tensor)][0])
        if twice:
            plan = replace(plan, shape=(2 * n,), axes=(AxisMap(np.concatenate([np.arange(n)] * 2)),))
        edited.replace_tensor(activation, name, tensor, plan)
    if twice:
        vars(activation)["num_parameters"] = 2 * n  # a PReLU's
    weight_name, dtype = edited.stored(place.layer)
    axes: list[AxisMap | None] = [None] * (2 + len(kernel or ()))
    outputs, inputs = n, n
    both, signs = np.concatenate([np.arange(n)] * 2), np.concatenate([np.ones(n), -np.ones(n)])
    if place.kind == "mirror":
        inputs, axes[1] = 2 * n, AxisMap(both, signs / _twice(place.slope), contracted=True)
        if mirrored:
            outputs, axes[0] = 2 * n, AxisMap(both, signs)
    elif place.kind == "maxout":
        inputs = n // place.pieces
        axes[0] = AxisMap(np.repeat(np.arange(inputs), place.pieces))
    has_bias = place.has_bias
    made: nn.Module
    if kernel is None:
        made = nn.Linear(inputs, outputs, has_bias, device="meta", dtype=dtype)
    else:
        padding = tuple(k // 2 for k in kernel)
        kind: Callable[..., nn.Conv1d | nn.Conv2d | nn.Conv3d] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        made = kind(inputs, outputs, kernel, padding=padding, bias=has_bias, device="meta", dtype=dtype)
    made.requires_grad_(all(p.requires_grad for p in layer.parameters()))
    plan = TensorPlan(tuple(made.weight.shape), tuple(axes), source=weight_name, fill="identity")
    edited.give(made, "weight", plan)
    if has_bias:
        own = place.layer._parameters.get("bias")
        source = weight_name if own is None else edited.names[id(own)][0]
        edited.give(made, "bias", _numbers(np.zeros(outputs), source))
    if not isinstance(last, _BatchNorm):
        return [activation, made]
    return [activation, made, _batch_norm(edited, edit, last, weight_name, mirrored)]


def _batch_norm(edited: Edited, edit: LayerEdit, like: nn.Module, source: str, mirrored: bool) -> nn.Module:
    """A BatchNorm that undoes its own normalisation: gain = sqrt(variance + eps), shift = mean."""
    mean, variance = edit.mean, edit.variance
    assert mean is not None and variance is not None and isinstance(like, _BatchNorm)
    if mirrored:
        mean, variance = np.concatenate([mean, -mean]), np.concatenate([variance, variance])
    norm = type(like)(len(mean), like.eps, like.momentum, True, like.track_running_stats, device="meta")
    trains = all(p.requires_grad for p in like.parameters())
    norm.requires_grad_(trains)
    own = f"{edit.place.norm}." if like.affine else source.removesuffix("weight")
    edited.give(norm, "weight", _numbers(np.sqrt(variance + like.eps), f"{own}weight"))
    edited.give(norm, "bias", _numbers(mean, f"{own}bias" if like.affine else source))
    if like.running_mean is not None:
        edited.give(norm, "running_mean", _numbers(mean, source))
        edited.give(norm, "running_var", _numbers(variance, source))
    if like.num_batches_tracked is not None:
        edited.give(norm, "num_batches_tracked", _count(f"{edit.place.norm}.num_batches_tracked"))
    return norm


def _twice(slope: float | np.ndarray) -> float | np.ndarray:
    """The slope of each unit of mirrored pairs."""
    return np.concatenate([slope, slope]) if isinstance(slope, np.ndarray) else slope


def _numbers(values: np.ndarray, source: str) -> TensorPlan:
    return TensorPlan(values.shape, (None,) * values.ndim, source=source, fill="values", values=values)


def _count(source: str) -> TensorPlan:
    """A counter that starts at 0."""
    return TensorPlan((), (), source=source, fill="values", values=np.zeros(1))


def _resize(module: nn.Module) -> None:
    """Set the sizes of a layer whose output side has grown."""
    if isinstance(module, nn.Linear):
        module.out_features = module.weight.shape[0]
    elif isinstance(module, _ConvNd):
        module.out_channels = module.weight.shape[0]
    elif isinstance(module, _BatchNorm):
        module.num_features = 2 * module.num_features
