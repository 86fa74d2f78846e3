"""Replica routing -> a router of the network's own class with a row for every replica."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from net2net._version import __version__
from net2net.capture import Example, Inputs, examples_of, require_teacher, structural_copy, unobserved
from net2net.errors import OptionError
from net2net.growth import Growth, Known, carried_out, compiled_alike, proved
from net2net.moe._calls import calls_of
from net2net.moe._change import Upcycling
from net2net.moe._mixtures import Look, Mixture, chosen_together, look
from net2net.moe._replicas import source_of
from net2net.moe._routing import ReplicaExperts, ReplicaRouting
from net2net.moe._stock import freed, set_copies, set_words
from net2net.plan import AxisMap, Plan, TensorPlan

# How much of the second map goes into the rows of the router: what is closest on the example inputs is taken.
_SHARES = (0.03, 0.1, 0.3, 1.0, 3.0)


@unobserved
def release_routing(student: nn.Module, example_inputs: Inputs) -> Growth:
    """A network with replica routing, as one of its own classes: its router has a row for every replica.

    A row is that of the replica's source and a share of its row of the second map, less what its siblings have in
    common. Two replicas of one expert may then be chosen together, so it is approximate: the growth says how far off,
    on the example inputs. Release after training, when replicas differ, for those who serve the model elsewhere.

    Args:
        student: a network with stacked experts and replica routing. It is not changed.
        example_inputs: as for `upcycle`.

    Returns:
        The growth; `plan.changes` say how often replicas of one expert are chosen together.

    Raises:
        OptionError: there is no replica routing, or one in several levels, or before a gate whose rule is unknown.

    Example:
        >>> import torch, net2net
        >>> from net2net.moe import MixtureOfExperts
        >>> teacher, x = nn.Sequential(MixtureOfExperts(4, 8, experts=4, top_k=2)), torch.randn(9, 4)
        >>> growth = release_routing(net2net.upcycle(teacher, "2x", x).student, x)
        >>> growth.student[0].router, growth.plan.preserves
        (TopKRouter(4 -> 2 of 8), 'approximate')
    """
    require_teacher(student, example_inputs)
    examples = examples_of(example_inputs, model=student)
    seen = look(student, examples)
    released = {name: m for name, m in seen.mixtures.found.items() if m.sources != m.size}
    if not released:
        raise OptionError(f"{type(student).__name__} has no replica routing to release.")
    for mixture in released.values():
        _check(mixture)
    best: tuple[float, Plan, nn.Module] | None = None
    for share in _SHARES:
        plan, made = _made(student, seen, released, share)
        error = _distance(student, made, examples)
        if best is None or error < best[0]:
            best = error, plan, made
    assert best is not None
    _, plan, made = best
    given = look(made, examples).tokens
    changes = []
    for change in plan.changes:
        assert isinstance(change, Upcycling)
        source = source_of(_routing(student, released[change.experts]).counts)
        changes.append(replace(change, together=chosen_together(given[change.experts], source)))
    plan = replace(plan, changes=tuple(changes))
    return compiled_alike(proved(student, made, plan, examples, Known(float32_inside=seen.float32)))


def _routing(student: nn.Module, mixture: Mixture) -> ReplicaRouting:
    wrapper = student.get_submodule(mixture.name)
    assert isinstance(wrapper, ReplicaExperts)
    return wrapper.routing


def _check(mixture: Mixture) -> None:
    if not mixture.stack:
        raise OptionError(f"'{mixture.name}' is a list of experts; release_routing knows stacked ones.")
    if mixture.stack != f"{mixture.name}.experts":
        raise OptionError(f"'{mixture.name}' has replicas of replicas; release_routing knows one level of them.")
    if mixture.gate is None:
        raise OptionError(f"'{mixture.name}': its gate follows no rule known, so there are no rows to add to.")


def _made(student: nn.Module, seen: Look, released: dict[str, Mixture], share: float) -> tuple[Plan, nn.Module]:
    """The network with a share of the second maps in its routers, and the plan that makes it."""
    template = structural_copy(student)
    tensors: dict[str, TensorPlan] = {}
    removed: list[str] = []
    changes: list[Upcycling] = []
    changed: dict[str, tuple[int, int]] = {}
    words = []
    for name, mixture in released.items():
        assert mixture.gate is not None
        routing = _routing(student, mixture)
        stock = replace(mixture, size=mixture.sources, stack=name)
        experts = student.get_submodule(mixture.stack)
        removed += [f"{name}.{n}" for n in student.get_submodule(name).state_dict()]
        copies = freed(stock, routing.counts, experts, seen.calls[name])
        for n, t in experts.state_dict(keep_vars=True).items():
            factor = copies.factors if n in copies.outputs else None
            own = n in dict(experts.named_parameters(recurse=False))
            axes = (
                (AxisMap(np.arange(mixture.size), factor=factor), *[None] * (t.dim() - 1)) if own else (None,) * t.dim()
            )
            tensors[f"{name}.{n}"] = TensorPlan(tuple(t.shape), axes, source=f"{mixture.stack}.{n}")
        tensors |= _choice(student, stock, copies.bias, routing)
        tensors |= _rows(student, mixture, routing, share)
        template.set_submodule(name, template.get_submodule(mixture.stack))
        changed |= set_copies(template, stock, mixture.size, mixture.gate.top_k)
        words.append((stock, mixture.size, mixture.gate.top_k))
        units = AxisMap(np.arange(mixture.size))
        changes.append(Upcycling(name, mixture.size, mixture.size, "released", units, preserves="approximate"))
    if len(words) == len(seen.mixtures.found):
        changed |= set_words(template, words)
    plan = Plan(tensors, tuple(changes), 0, "approximate", removed=tuple(removed), changed=changed, version=__version__)
    return plan, carried_out(plan, student, template)


def _choice(student: nn.Module, stock: Mixture, factor: float, routing: ReplicaRouting) -> dict[str, TensorPlan]:
    """The bias by which experts are chosen, for every replica: that of its source."""
    assert stock.gate is not None
    name = stock.gate.selection
    if name is None:
        return {}
    owner, _, last = name.rpartition(".")
    shape = getattr(student.get_submodule(owner), last).shape
    source = source_of(routing.counts)
    along = AxisMap(source, factor=None if factor == 1.0 else np.full(len(source), factor))
    axes = tuple(along if size == stock.size else None for size in shape)
    return {name: TensorPlan(tuple(len(source) if m is along else 1 for m in axes), axes)}


def _rows(student: nn.Module, mixture: Mixture, routing: ReplicaRouting, share: float) -> dict[str, TensorPlan]:
    """The rows of the router, and its bias of the logits if it has one."""
    assert mixture.gate is not None
    found = {}
    for name, second in ((mixture.gate.weight, routing.weight), (mixture.gate.bias, routing.balance)):
        if name is not None:
            owner, _, last = name.rpartition(".")
            first: torch.Tensor = getattr(student.get_submodule(owner), last).detach().double()
            own = second.detach().double()
            counts = torch.bincount(routing.source).to(own)
            sums = own.new_zeros(len(counts), *own.shape[1:]).index_add(0, routing.source, own)
            mean = sums / counts.reshape(-1, *[1] * (own.dim() - 1))
            values = (first[routing.source] + share * (own - mean[routing.source])).cpu().numpy()
            axes = (None,) * values.ndim
            found[name] = TensorPlan(values.shape, axes, source=name, fill="values", new=True, values=values)
    return found


def _distance(student: nn.Module, made: nn.Module, examples: tuple[Example, ...]) -> float:
    """How far apart the first outputs of two networks are on the examples, relative to their size."""
    largest = 0.0
    for example in examples:
        ours, theirs = (_first(model, example) for model in (student, made))
        largest = max(largest, float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1e-30)))
    return largest


def _first(model: nn.Module, example: Example) -> torch.Tensor:
    calls, _ = calls_of(model, example, lambda path, _: not path)
    return calls[""][0].results[0].double()
