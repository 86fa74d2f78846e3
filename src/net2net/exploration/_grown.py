"""A network of the search, and how a larger one is grown from it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer

from net2net.analysis import Analysis, Dimension, analyze, kind_of
from net2net.capture import Inputs
from net2net.exploration._space import Architecture, Knob, Space
from net2net.growth import Growth
from net2net.moe import mixtures, upcycle
from net2net.operators import deepen, widen
from net2net.plan import Plan
from net2net.report import starred
from net2net.student import initial_values


@dataclass(frozen=True, eq=False)
class Grown:
    """A network with its optimizer, and how it came of the teacher.

    `plan` has all growths since the teacher; `moved` says where each module of the teacher is now; `last` are the
    growths that made it of its parent, as keyword arguments of `net2net.grow`, or as "experts" of `net2net.upcycle`.
    """

    model: nn.Module
    optimizer: Optimizer
    architecture: Architecture
    plan: Plan | None = None
    moved: Mapping[str, str] = field(default_factory=dict)
    last: tuple[dict[str, dict[str, int]], ...] = ()


def grown(
    parent: Grown, wanted: Architecture, space: Space, root: Analysis, inputs: Inputs, *, seed: int, ramp: int | None
) -> Grown:
    """The parent, wider, then with more experts, then deeper, with its optimizer; a copy of it where nothing grows.

    Args:
        parent: which is not changed.
        wanted: the value of each knob, at least the parent's.
        space: the knobs.
        root: the analysis of the teacher, whose names the knobs have.
        inputs: example inputs.
        seed, ramp: as for `net2net.grow` and `Growth.optimizer`.

    Raises:
        GrowthError: the network can't grow so.
    """
    before = parent.architecture
    model, optimizer = parent.model, parent.optimizer
    plan, moved, last = parent.plan, dict(parent.moved), []
    growing = [knob for name, knob in space.items() if wanted[name] > before[name]]

    def take(growth: Growth, request: dict[str, dict[str, int]]) -> None:
        nonlocal model, optimizer, plan, moved
        optimizer = growth.optimizer(optimizer, ramp=ramp)
        model, plan = growth.student, growth.plan if plan is None else growth.plan.after(plan)
        places = growth.known.moved
        moved = {old: places.get(new, new) for old, new in moved.items()} if moved else dict(places)
        last.append(request)

    if any(knob.kind == "width" for knob in growing):
        sizes = _sizes(parent, wanted, space, root, inputs)
        take(widen(model, sizes, inputs, seed=seed), {"sizes": sizes})
    if any(knob.kind == "experts" for knob in growing):
        more = {
            path: round(mixture.size * wanted[name] / before[name])
            for path, mixture in mixtures(model, inputs).found.items()
            for name in (f"experts {path}", f"experts {starred(path)}")
            if name in space and wanted[name] > before[name]
        }
        take(upcycle(model, more, inputs, seed=seed), {"experts": more})
    if any(knob.kind == "depth" for knob in growing):
        where = {
            moved.get(knob.members[0], knob.members[0]): wanted[knob.name] - before[knob.name]
            for knob in growing
            if knob.kind == "depth"
        }
        take(deepen(model, where, inputs, seed=seed), {"where": where})
    if not last:
        model, optimizer = copy.deepcopy((model, optimizer))
    return Grown(model, optimizer, dict(wanted), plan, moved, tuple(last))


def _sizes(parent: Grown, wanted: Architecture, space: Space, root: Analysis, inputs: Inputs) -> dict[str, int]:
    """The new sizes of dimensions of the parent, which may have further layers.

    What comes of a dimension of the teacher is known by its tensors. One that is new belongs to the knob with its
    name (those of blocks that repeat), else to that of the layer before it, which a new layer continues.
    """
    same = not parent.moved  # no layer is new, and the teacher's names are the parent's
    now = root if same else analyze(parent.model, inputs)
    knob_of = {member: knob for knob in space.values() if knob.kind == "width" for member in knob.members}

    def here(tensor: str) -> str:
        module, dot, leaf = tensor.rpartition(".")
        return f"{parent.moved.get(module, module)}{dot}{leaf}"

    homes = {(here(p.tensor), p.axis): d.name for d in root.dimensions.values() if _grows(d) for p in d.places}
    sizes: dict[str, int] = {}
    last: Knob | None = None
    for d in filter(_grows, now.dimensions.values()):
        old = next((homes[p.tensor, p.axis] for p in d.places if (p.tensor, p.axis) in homes), None)
        if old is not None:
            last = knob = knob_of.get(old)
        else:
            # Without numbers only where blocks repeat: any other name may be another layer's by now.
            kind = kind_of(now, d.name)
            knob = space.get(kind, last) if kind != d.name else last
        if knob is not None and wanted[knob.name] > parent.architecture[knob.name]:
            before = knob.choices[0] if same else parent.architecture[knob.name]
            sizes[d.name] = round(d.size * wanted[knob.name] / before)
    return sizes


def _grows(d: Dimension) -> bool:
    return d.primary and d.growth != "fixed"


def restart(optimizer: Optimizer, like: Optimizer) -> None:
    """Give the groups the options that the teacher's optimizer has, learning rates too; its state stays."""
    for group, old in zip(optimizer.param_groups, like.param_groups, strict=False):
        for key in [k for k in group if k not in old]:
            del group[key]
        group.update({k: copy.deepcopy(v) for k, v in old.items() if k not in ("params", "param_names")})


def twin(one: Grown, seed: int) -> Grown:
    """The same network with random weights, and an optimizer that has seen nothing.

    Tensors get what their layers' own initialisers draw. What none of them knows stays: buffers; a parameter of one
    axis starts at the whole number next to its mean, 1 for a gain and 0 for a bias.
    """
    model, optimizer = copy.deepcopy((one.model, one.optimizer))
    optimizer.state.clear()
    value = initial_values(model, seed)
    state = dict(model.named_parameters()) | dict(model.named_buffers())
    for name, tensor in state.items():
        module = model.get_submodule(name.rpartition(".")[0])
        known = any(hasattr(module, reset) for reset in ("reset_parameters", "_reset_parameters"))
        if isinstance(tensor, nn.Parameter) and not known and tensor.ndim == 1 and not hasattr(model, "_init_weights"):
            tensor.data.fill_(float(tensor.data.double().mean().round()))
        elif known or isinstance(tensor, nn.Parameter):
            tensor.data.copy_(value(name))
    return Grown(model, optimizer, one.architecture, one.plan, one.moved, one.last)
