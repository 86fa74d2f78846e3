"""The mixtures of experts in a network: where they are, how many experts, and what their gates do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import nn

from net2net.capture import Inputs, examples_of, require_teacher
from net2net.moe._calls import Call, Calls, calls_of
from net2net.moe._gate import Gate
from net2net.moe._observe import Slots, observed_gate, slots_of
from net2net.moe._routing import ReplicaExperts, ReplicatedExpert
from net2net.report import table


@dataclass(frozen=True)
class Mixture:
    """Experts of one kind, of which a router chooses some for every token.

    `name` is the path of the module that holds them, `size` how many there are, and `sources` among how many the router
    chooses: fewer, where some have replicas. `members` are the paths of single experts where each is a module; else
    their weights are stacked in the tensors of `stack`, whose first axis is `size`, and `slots` says where the tokens,
    the chosen numbers and the mixing weights are in a call. `block` is the path of the module with the router, `gate`
    its rule: None where it is none of those known, with `top_k` None if the number of experts per token isn't known.
    """

    name: str
    size: int
    sources: int
    top_k: int | None
    gate: Gate | None
    block: str
    width: int
    stack: str = ""
    members: tuple[str, ...] = ()
    slots: Slots | None = None

    @property
    def rule(self) -> str:
        """The gate's rule in words."""
        text = "a rule of its own" if self.gate is None else str(self.gate)
        return text if self.sources == self.size else f"{text}, of {self.sources} experts with replicas"


@dataclass(frozen=True)
class Mixtures:
    """The mixtures of a network by name, and what looks like one but can't be handled, with the reason."""

    found: dict[str, Mixture] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rows = [[m.name, str(m.size), str(m.top_k or "varies"), m.rule] for m in self.found.values()]
        lines = [table(["mixture", "experts", "per token", "gate"], rows, right=(1, 2))] if rows else []
        return "\n".join([*lines, *(f"{name}: {reason}" for name, reason in self.unknown.items())])


def mixtures(model: nn.Module, example_inputs: Inputs) -> Mixtures:
    """The mixtures of experts in a network, as they act on the example inputs.

    Experts are found in two forms: weights stacked in tensors with an axis of experts, in a module that is called with
    the numbers of the chosen experts and their mixing weights; and a list of modules of one class and one size that
    are each given some of the tokens that a router reads. What a gate does is measured, not read from its class.

    Args:
        model: a network, in any mode. It is not changed.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments, or a list of several.

    Returns:
        The mixtures, by the paths of their experts; `print` shows a table.

    Example:
        >>> from net2net.moe import MixtureOfExperts
        >>> model = nn.Sequential(nn.Linear(3, 8), MixtureOfExperts(8, 16, experts=4, top_k=2))
        >>> print(mixtures(model, torch.randn(5, 3)))
        mixture    experts  per token  gate
        ---------  -------  ---------  ------------------------------------
        1.experts        4          2  softmax, the 2 largest, renormalised
    """
    require_teacher(model, example_inputs)
    return look(model, example_inputs).mixtures


def may_have_experts(model: nn.Module) -> bool:
    """Whether some module has the form of experts; whether it is a mixture is seen when it runs."""
    modules = dict(model.named_modules())
    return any(_stacked(module) or _leaves(modules, path) for path, module in modules.items())


Tokens = dict[int, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Look:
    """The mixtures of a network as they act on example inputs: by name the tokens that each expert is given, and a call
    of the stacked experts or of one expert. `float32` says that something was computed in float32."""

    mixtures: Mixtures
    tokens: dict[str, Tokens]
    calls: dict[str, Call]
    float32: bool


def look(model: nn.Module, inputs: Inputs) -> Look:
    """The mixtures of a network, and what they are given on the example inputs."""
    modules = dict(model.named_modules())
    stacks = {path: size for path, m in modules.items() if (size := _stacked(m))}
    lists = {path: leaves for path in modules if (leaves := _leaves(modules, path))}
    children = {path: [f"{path}.{name}" for name, _ in modules[path].named_children()] for path in lists}
    blocks = {_parent(_outermost(modules, path)) for path in (*stacks, *lists)}
    sizes = {len(some) for some in children.values()}
    routers = [path for path, m in modules.items() if any(_is_inside(path, b) for b in blocks) and _may_route(m, sizes)]
    leaves_of_all = {leaf for leaves in lists.values() for leaf in leaves}
    wanted = {*stacks, *blocks, *routers, *leaves_of_all, *(c for some in children.values() for c in some)}
    calls, float32 = calls_of(model, examples_of(inputs, model=model), lambda path, _: path in wanted)
    found: dict[str, Mixture] = {}
    unknown: dict[str, str] = {}
    tokens: dict[str, Tokens] = {}
    samples: dict[str, Call] = {}
    for path, size in stacks.items():
        slots = slots_of(calls[path][0]) if path in calls else None
        if slots is None:
            if "expert" in f"{path} {type(modules[path]).__name__}".lower():
                unknown[path] = _why_no_stack(modules[path], size, path in calls)
            continue
        given = calls[path][0].given
        name = _outermost(modules, path)
        outer = modules[name]
        sources = len(outer.routing.counts) if isinstance(outer, ReplicaExperts) else size
        top_k, width = given[slots[1]].shape[-1], given[slots[0]].shape[-1]
        mixture = Mixture(name, size, sources, top_k, None, _parent(name), width, stack=path, slots=slots)
        found[name] = _with_gate(model, mixture, (), calls)
        tokens[name] = _given_by_number(calls[path], slots, size)
        samples[name] = calls[path][0]
    for path, leaves in lists.items():
        block = _parent(path)
        beside = [r for r in routers if _is_inside(r, block) and not _is_inside(r, path)]
        reason = _why_no_list(children[path], [block, *beside] if beside else [], calls)
        if reason is not None:
            if "expert" in path.lower() and not any(_is_inside(path, p) for p in unknown):
                unknown[path] = reason
            continue
        tokens[path] = {k: _rows(calls[leaf]) for k, leaf in enumerate(leaves) if leaf in calls}
        samples[path] = max((c for leaf in leaves for c in calls.get(leaf, [])), key=lambda c: len(_rows([c])))
        width = next(iter(tokens[path].values())).shape[-1]
        mixture = Mixture(path, len(leaves), len(children[path]), None, None, block, width, members=leaves)
        found[path] = _with_gate(model, mixture, tuple(children[path]), calls)
    return Look(Mixtures(found, unknown), tokens, samples, float32)


def chosen_together(tokens: Tokens, source: np.ndarray) -> float | None:
    """The share of tokens that two copies of one expert are given; None where every expert is given every token.

    Args:
        tokens: by expert, (tokens, width).
        source: what each expert copies.
    """
    given: dict[bytes, list[int]] = {}
    for expert, rows in tokens.items():
        for row in _flat(rows):
            given.setdefault(row.numpy().tobytes(), []).append(int(source[expert]))
    if all(len(experts) >= len(source) for experts in given.values()):
        return None
    return sum(len(set(experts)) < len(experts) for experts in given.values()) / len(given)


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _is_inside(path: str, other: str) -> bool:
    return not other or f"{path}.".startswith(f"{other}.")


def _outermost(modules: dict[str, nn.Module], path: str) -> str:
    """The path of the replica routing around stacked experts, or their own."""
    while path and isinstance(modules[_parent(path)], ReplicaExperts):
        path = _parent(path)
    return path


def _stacked(module: nn.Module) -> int:
    """How many experts a module holds in tensors of its own, whose first axis is theirs; 0 if it holds none."""
    own = [p for p in module.parameters(recurse=False) if p.is_floating_point()]
    sizes = {p.shape[0] for p in own if p.dim()}
    several = any(p.dim() == 3 for p in own) and len(sizes) == 1
    return sizes.pop() if several and not isinstance(module, nn.modules.conv._ConvNd) else 0


def _leaves(modules: dict[str, nn.Module], path: str) -> tuple[str, ...]:
    """The modules in a list that may be experts: of one class and one size. Replicas are experts of their own."""
    module = modules[path]
    if not isinstance(module, (nn.ModuleList, nn.ModuleDict)) or len(module) < 2:
        return ()
    if path and isinstance(modules[_parent(path)], ReplicatedExpert):
        return ()
    leaves = [leaf for name, child in module.named_children() for leaf in _replicas(f"{path}.{name}", child)]
    kinds = {(type(m), tuple((n, t.shape) for n, t in m.named_parameters())) for _, m in leaves}
    return tuple(p for p, _ in leaves) if len(kinds) == 1 and next(iter(kinds))[1] else ()


def _replicas(path: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(module, ReplicatedExpert):
        yield path, module
        return
    for k, replica in enumerate(module.replicas):
        yield from _replicas(f"{path}.replicas.{k}", replica)


def _may_route(module: nn.Module, sizes: set[int]) -> bool:
    """Whether a module has a row for each expert."""
    return any(p.dim() == 2 and p.shape[0] in sizes for p in module.parameters(recurse=False))


def _rows(calls: list[Call]) -> torch.Tensor:
    """The tokens of the first tensor that was given, call after call."""
    return torch.cat([(t := next(iter(c.given.values()))).reshape(-1, t.shape[-1]) for c in calls])


def _given_by_number(calls: list[Call], slots: Slots, size: int) -> Tokens:
    """The tokens that each of stacked experts is given."""
    tokens = torch.cat([c.given[slots[0]].flatten(0, -2) for c in calls])
    chosen = torch.cat([c.given[slots[1]].flatten(0, -2) for c in calls])
    return {k: tokens[(chosen == k).any(1)] for k in range(size)}


def _why_no_stack(module: nn.Module, size: int, called: bool) -> str:
    kind = type(module).__name__
    if not called:
        return f"the weights of {size} experts ({kind}), which the example inputs don't run"
    return (
        f"the weights of {size} experts ({kind}), which isn't called with tokens, the numbers of the experts chosen "
        "for each and their mixing weights"
    )


def _why_no_list(children: list[str], readers: list[str], calls: Calls) -> str | None:
    """Why modules in a list are no experts: each has to be given tokens that a router, or the block, reads."""
    missing = [child for child in children if child not in calls]
    if missing:
        return f"{len(missing)} of its {len(children)} modules aren't called on the example inputs"
    given = {child: {name for c in calls[child] for name in c.given} for child in children}
    if any(len(names) != 1 or any(len(c.results) != 1 for c in calls[child]) for child, names in given.items()):
        return "its modules are called with more than a tensor of tokens, or give more than one back"
    for reader in readers:
        known = {row.numpy().tobytes() for c in calls.get(reader, []) for t in c.given.values() for row in _flat(t)}
        if known and all(row.numpy().tobytes() in known for child in children for row in _flat(_rows(calls[child]))):
            return None
    return "its modules aren't given the tokens that a router beside them reads"


def _flat(tensor: torch.Tensor) -> torch.Tensor:
    flat = tensor.reshape(-1, tensor.shape[-1]) if tensor.dim() > 1 else tensor.reshape(1, -1)
    return flat.detach().cpu().float()


def _with_gate(model: nn.Module, mixture: Mixture, children: tuple[str, ...], calls: Calls) -> Mixture:
    """The mixture with the rule of its gate, as it is seen in the block around it."""
    block, above = mixture.block, f"{mixture.block}." if mixture.block else ""
    if block not in calls or not any(t.is_floating_point() for t in calls[block][0].given.values()):
        return mixture
    inside = tuple(child.removeprefix(above) for child in children)
    name = mixture.name.removeprefix(above)
    call = calls[block][0]
    gate = observed_gate(model.get_submodule(block), name, inside, mixture.slots, mixture.sources, call)
    if gate is None:
        return mixture

    def named(tensor: str | None) -> str | None:
        return None if tensor is None else above + tensor

    gate = replace(gate, weight=above + gate.weight, bias=named(gate.bias), selection=named(gate.selection))
    return replace(mixture, top_k=gate.top_k, gate=gate)
