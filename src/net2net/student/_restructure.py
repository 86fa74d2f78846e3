"""The student's module tree: the teacher's with blocks and layers more, and where its tensors come from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from net2net.capture import carry, structural_copy
from net2net.depth import BlockEdit, LayerEdit, LayerPlace
from net2net.errors import OptionError
from net2net.plan import AxisMap, TensorPlan
from net2net.student._deepened import Deepened, DeepenedBlock


@dataclass
class Skeleton:
    """A deeper network that shares the teacher's tensors; what is new is on the meta device.

    `tensors` says how each tensor with another name or other entries is made, `new` names those that are new,
    `moved` maps a module's path in the teacher to its path in the student, and `changed` are attributes that are set
    anew, with their old and new value.
    """

    model: nn.Module
    tensors: dict[str, TensorPlan] = field(default_factory=dict)
    new: frozenset[str] = frozenset()
    removed: tuple[str, ...] = ()
    attributes: dict[str, dict[str, float]] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def set(self, path: str, name: str, value: Any) -> None:
        """Set an attribute of a module of the student, and record what it was."""
        owner = self.model.get_submodule(path)
        before = getattr(owner, name)
        if before != value:
            key = f"{path}.{name}" if path else name
            self.changed[key] = (self.changed.get(key, (before,))[0], value)
            setattr(owner, name, value)


def restructure(teacher: nn.Module, edits: Sequence[BlockEdit | LayerEdit]) -> Skeleton:
    """Carry out the edits on a copy of the teacher's modules."""
    return _Editor(teacher).edited(edits)


@dataclass(frozen=True)
class _Made:
    """A tensor of the student that isn't the teacher's as it is. It is held, so that its identity stays its own.

    `fresh` says that it is another tensor than the teacher's, `mirrored` that it has the teacher's units all the same.
    """

    tensor: torch.Tensor
    plan: TensorPlan
    fresh: bool = True
    mirrored: bool = False


class _Editor:
    def __init__(self, teacher: nn.Module) -> None:
        self.model = structural_copy(teacher)
        self.names: dict[int, list[str]] = {}
        self.teacher = teacher
        self.made: dict[int, _Made] = {}  # by the identity of the tensor
        self.attributes: list[tuple[nn.Module, dict[str, float]]] = []
        for name, tensor in _tensors(self.model):
            self.names.setdefault(id(tensor), []).append(name)
        self.paths = {id(module): path for path, module in self.model.named_modules()}
        self.modules = dict(self.model.named_modules(remove_duplicate=False))  # by their paths in the teacher

    def edited(self, edits: Sequence[BlockEdit | LayerEdit]) -> Skeleton:
        # What is inside a block comes first, so that copies of the block have it too.
        for edit in sorted(edits, key=lambda e: -_depth(e)):
            if isinstance(edit, LayerEdit):
                self._insert_layers(edit)
            else:
                self._repeat_blocks(edit)
        tensors, seen, new = {}, set(), set()
        for name, tensor in _tensors(self.model):
            if id(tensor) in seen:
                continue
            seen.add(id(tensor))
            own = self.names.get(id(tensor), [""])[0]
            made = self.made.get(id(tensor))
            if made is not None:
                tensors[name] = replace(made.plan, new=made.fresh and not made.mirrored)
                if made.fresh:
                    new.add(name)
            elif name != own:
                tensors[name] = TensorPlan(tuple(tensor.shape), (None,) * tensor.dim(), source=own)
        first = {name for name, _ in self.model.named_parameters()} | {name for name, _ in self.model.named_buffers()}
        removed = tuple(names[0] for names in self.names.values() if names[0] not in first)
        paths = {id(module): path for path, module in self.model.named_modules()}
        return Skeleton(
            self.model,
            tensors,
            frozenset(new),
            removed,
            {paths[id(module)]: values for module, values in self.attributes},
            {old: paths[key] for key, old in self.paths.items() if key in paths},
        )

    # blocks

    def _repeat_blocks(self, edit: BlockEdit) -> None:
        stack = edit.stack
        container = self.modules[stack.container]
        blocks = [self.modules[block.path] for block in stack.blocks]
        old = [next(n for n, m in container._modules.items() if m is block) for block in blocks]
        paths = [block.path for block in stack.blocks]
        made = [self._copied(blocks[i], paths[i], edit.init) if new else blocks[i] for i, new in edit.order]
        for index, module in enumerate(made):
            self._change(edit, index, module)
        if not isinstance(container, (nn.Sequential, nn.ModuleList)):
            self._in_one_place(container, old, edit, made)
            return
        children = list(container._modules.items())
        names = [name for name, _ in children]
        start, end = names.index(old[0]), names.index(old[-1])
        if end - start + 1 != len(old):
            raise OptionError(f"'{stack.name}': other modules stand between its blocks.")
        result = [*children[:start], *zip(_named(edit, old), made, strict=True), *children[end + 1 :]]
        _refill(container, result)

    def _in_one_place(self, container: nn.Module, old: list[str], edit: BlockEdit, made: list[nn.Module]) -> None:
        """Blocks that are attributes: each new one goes into one module with the one that it follows."""
        groups: list[list[nn.Module]] = []
        for (_, new), module in zip(edit.order, made, strict=True):
            if new and groups:
                groups[-1].append(module)
            elif new:
                raise OptionError(f"'{edit.stack.name}': no block can go before the first; it is an attribute.")
            else:
                groups.append([module])
        for name, group in zip(old, groups, strict=True):
            if len(group) > 1:
                container._modules[name] = DeepenedBlock(*group).train(group[0].training)

    def _copied(self, block: nn.Module, path: str, init: str) -> nn.Module:
        """A copy of a block with tensors of its own, but for those that others share."""

        def own(_: str, tensor: torch.Tensor) -> torch.Tensor:
            names = self.names.get(id(tensor), [])
            if any(not name.startswith(path + ".") for name in names):
                return tensor
            new = torch.empty_like(tensor, device="meta", requires_grad=False)
            made = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
            self._note(made, self._plan_of(tensor))
            return made

        made = structural_copy(block, own)
        if init in ("random", "zero-random"):
            for owner in made.modules():
                for tensor in [*owner.parameters(recurse=False), *owner.buffers(recurse=False)]:
                    known = self.made.get(id(tensor))
                    if known is not None and (tensor.dim() > 1 or hasattr(owner, "reset_parameters")):
                        self.made[id(tensor)] = replace(known, plan=replace(known.plan, fill="initial"))
        return made

    def _change(self, edit: BlockEdit, index: int, module: nn.Module) -> None:
        tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        for (i, name), change in edit.changes.items():
            if i == index:
                tensor = tensors[name]
                known = self.made.get(id(tensor)) or _Made(tensor, self._plan_of(tensor), fresh=False)
                self.made[id(tensor)] = replace(known, plan=change.of(known.plan))
        for (i, path), values in edit.attributes.items():
            if i == index:
                self.attributes.append((module.get_submodule(path), values))

    # layers

    def _insert_layers(self, edit: LayerEdit) -> None:
        place = edit.place
        owner = self.modules[place.last.rpartition(".")[0]]
        layer, last = self.modules[place.path], self.modules[place.last]
        name = next(n for n, m in owner._modules.items() if m is last)
        if place.kind == "mirror":
            self._mirror(layer, place)
            if last is not layer:
                self._mirror(last, place)
        made: list[nn.Module] = []
        for k, kernel in enumerate(edit.kernels):
            is_last = k == len(edit.kernels) - 1
            made += self._identity_layer(edit, layer, last, kernel, mirrored=place.kind == "mirror" and not is_last)
        for module in made:
            module.train(last.training)
        if type(owner).forward in (nn.Sequential.forward, Deepened.forward):
            children = list(owner._modules.items())
            at = [n for n, _ in children].index(name) + 1
            labels = [f"{name}_deeper{i + 1}" for i in range(len(made))]
            _refill(owner, [*children[:at], *zip(labels, made, strict=True), *children[at:]])
        else:
            owner._modules[name] = Deepened(last, *made).train(last.training)

    def _mirror(self, module: nn.Module, place: LayerPlace) -> None:
        """Give a layer, or its BatchNorm, each unit twice: as it is and with the opposite sign."""
        n = place.channels
        source = np.concatenate([np.arange(n), np.arange(n)])
        signs = np.concatenate([np.ones(n), -np.ones(n)])
        for name, tensor in _direct(module):
            if tensor.dim() == 0:
                continue
            even = isinstance(module, _BatchNorm) and name in ("weight", "running_var")
            # Where f(x) - f(-x) = s x, the slopes at x and -x sum to s: on average each twin gets half the gradient.
            twins = AxisMap(source, None if even else signs, gradient=np.full(2 * n, 0.5) if even else signs / 2)
            axes = (twins, *(None,) * (tensor.dim() - 1))
            shape = (2 * n, *tensor.shape[1:])
            own = self.names[id(tensor)][0]
            self._replace(module, name, tensor, TensorPlan(shape, axes, source=own), mirrored=True)
        _resize(module)

    def _plan_of(self, tensor: torch.Tensor) -> TensorPlan:
        known = self.made.get(id(tensor))
        return known.plan if known is not None else _as_it_is(tensor, self.names[id(tensor)][0])

    def _note(self, tensor: torch.Tensor, plan: TensorPlan, mirrored: bool = False) -> None:
        self.made[id(tensor)] = _Made(tensor, plan, mirrored=mirrored)

    def _replace(
        self, module: nn.Module, name: str, tensor: torch.Tensor, plan: TensorPlan, mirrored: bool = False
    ) -> None:
        new = torch.empty(plan.shape, dtype=tensor.dtype, device="meta")
        made = nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new
        carry(tensor, made, {id(part): part for part in (*self.model.modules(), *self.model.parameters())})
        self._note(made, plan, mirrored)
        setattr(module, name, made)

    def _identity_layer(
        self, edit: LayerEdit, layer: nn.Module, last: nn.Module, kernel: tuple[int, ...] | None, mirrored: bool
    ) -> list[nn.Module]:
        """An activation, a layer that gives back what stood before it, and its BatchNorm."""
        place, n = edit.place, edit.place.channels
        assert place.activation is not None
        activation = copy.deepcopy(self._same(place.activation))
        twice = place.kind == "mirror" and isinstance(place.slope, np.ndarray)  # a slope for each channel
        for name, tensor in _direct(self._same(place.activation)):
            plan = _as_it_is(tensor, self.names[id(tensor)][0])
            if twice:
                plan = replace(plan, shape=(2 * n,), axes=(AxisMap(np.concatenate([np.arange(n)] * 2)),))
            self._replace(activation, name, tensor, plan)
        if twice:
            vars(activation)["num_parameters"] = 2 * n  # a PReLU's
        weight_name, dtype = self._stored(place.layer)
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
        self._give(made, "weight", plan)
        if has_bias:
            own = place.layer._parameters.get("bias")
            source = weight_name if own is None else self.names[id(own)][0]
            self._give(made, "bias", _numbers(np.zeros(outputs), source))
        if not isinstance(last, _BatchNorm):
            return [activation, made]
        return [activation, made, self._batch_norm(edit, last, weight_name, mirrored)]

    def _stored(self, layer: nn.Module) -> tuple[str, torch.dtype]:
        """The tensor that a layer's weight is, or is computed from (weight norm, spectral norm, pruning)."""
        tensors: list[torch.Tensor] = [*layer.parameters()] or [*layer.buffers()]
        weight = layer._parameters.get("weight")
        largest = weight if weight is not None else max(tensors, key=lambda t: (t.dim(), t.numel()))
        return self.names[id(largest)][0], largest.dtype

    def _batch_norm(self, edit: LayerEdit, like: nn.Module, source: str, mirrored: bool) -> nn.Module:
        """A BatchNorm that undoes its own normalisation: gain = sqrt(variance + eps), shift = mean."""
        mean, variance = edit.mean, edit.variance
        assert mean is not None and variance is not None and isinstance(like, _BatchNorm)
        if mirrored:
            mean, variance = np.concatenate([mean, -mean]), np.concatenate([variance, variance])
        norm = type(like)(len(mean), like.eps, like.momentum, True, like.track_running_stats, device="meta")
        trains = all(p.requires_grad for p in like.parameters())
        norm.requires_grad_(trains)
        own = f"{edit.place.norm}." if like.affine else source.removesuffix("weight")
        self._give(norm, "weight", _numbers(np.sqrt(variance + like.eps), f"{own}weight"))
        self._give(norm, "bias", _numbers(mean, f"{own}bias" if like.affine else source))
        if like.running_mean is not None:
            self._give(norm, "running_mean", _numbers(mean, source))
            self._give(norm, "running_var", _numbers(variance, source))
        if like.num_batches_tracked is not None:
            self._give(norm, "num_batches_tracked", _count(f"{edit.place.norm}.num_batches_tracked"))
        return norm

    def _give(self, module: nn.Module, name: str, plan: TensorPlan) -> None:
        self._note(getattr(module, name), plan)

    def _same(self, module: nn.Module) -> nn.Module:
        """The module of the copy that stands where this one stands in the teacher; itself if it stands nowhere."""
        path = next((p for p, m in self.teacher.named_modules() if m is module), None)
        return module if path is None else self.modules[path]


def _depth(edit: BlockEdit | LayerEdit) -> int:
    path = edit.stack.blocks[0].path if isinstance(edit, BlockEdit) else edit.place.path
    return path.count(".") + bool(path)


def _tensors(model: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]


def _direct(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _twice(slope: float | np.ndarray) -> float | np.ndarray:
    """The slope of each unit of mirrored pairs."""
    return np.concatenate([slope, slope]) if isinstance(slope, np.ndarray) else slope


def _as_it_is(tensor: torch.Tensor, source: str) -> TensorPlan:
    return TensorPlan(tuple(tensor.shape), (None,) * tensor.dim(), source=source)


def _numbers(values: np.ndarray, source: str) -> TensorPlan:
    return TensorPlan(values.shape, (None,) * values.ndim, source=source, fill="values", values=values)


def _count(source: str) -> TensorPlan:
    """A counter that starts at 0."""
    return TensorPlan((), (), source=source, fill="values", values=np.zeros(1))


def _named(edit: BlockEdit, old: list[str]) -> list[str]:
    """Names for blocks in a container with names; where they are numbers, `_refill` counts anew."""
    names: list[str] = []
    for source, new in edit.order:
        name, k = old[source], 1
        while new and name in (*names, *old):
            name, k = f"{old[source]}_deeper{k}", k + 1
        names.append(name)
    return names


def _refill(container: nn.Module, children: list[tuple[str, nn.Module | None]]) -> None:
    """Give a container these children, in this order; numbered names are counted anew."""
    numbered = all(name.isdigit() for name in container._modules)
    container._modules.clear()
    for i, (name, child) in enumerate(children):
        container._modules[str(i) if numbered else name] = child


def _resize(module: nn.Module) -> None:
    """Set the sizes of a layer whose output side has grown."""
    if isinstance(module, nn.Linear):
        module.out_features = module.weight.shape[0]
    elif isinstance(module, _ConvNd):
        module.out_channels = module.weight.shape[0]
    elif isinstance(module, _BatchNorm):
        module.num_features = 2 * module.num_features
