"""More experts in a network's own classes: copies of experts, and rows for them in the router."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from net2net.capture import structural_copy
from net2net.errors import CouplingError, OptionError, SizeError
from net2net.moe._calls import Call
from net2net.moe._counts import Counts
from net2net.moe._gate import Gate
from net2net.moe._mixtures import Mixture
from net2net.moe._observe import TOP_K
from net2net.moe._outputs import output_tensors
from net2net.moe._replicas import EXPERT_COUNT, empty, source_of
from net2net.plan import AxisMap, Noise, TensorPlan
from net2net.pretrained import is_pretrained


@dataclass(frozen=True)
class Copies:
    """How a mixture gets copies of its experts in its own class.

    `counts` says how often each expert is there, `top_k` how many compute a token afterwards. The output of copy i is
    `factors[i]` times that of its source, and its part of what its source gave is `parts[i]`: weights are shared out by
    the router, outputs by factors. `outputs` are the parameters of an expert that the factors go to. `bias` multiplies
    a bias that is added to the scores for the choice: copies make a softmax over all experts smaller.
    """

    counts: Counts
    top_k: int
    factors: np.ndarray
    parts: np.ndarray
    outputs: tuple[str, ...]
    bias: float


def raised(mixture: Mixture, counts: Counts, experts: nn.Module, call: Call) -> Copies:
    """Copies that are all chosen together, as many experts per token as there are copies of each.

    The copies of an expert share its output out unevenly (1 : 2 : ...), so that their gradients differ: chosen for the
    same tokens with equal weights they would stay twins.

    Raises:
        SizeError: some experts have more copies than others.
        OptionError: the gate's rule is unknown, or copies change its choice.
    """
    gate = _known(mixture, "raise_k")
    times = counts[0]
    if len(set(counts)) > 1:
        raise SizeError(
            f"'{mixture.name}': routing='raise_k' chooses every copy of the {gate.top_k} best experts, so each has to "
            f"be there equally often: {len(counts)} experts become {2 * len(counts)} or {3 * len(counts)}, not "
            f"{sum(counts)}. routing='replica' takes any number."
        )
    if gate.groups is not None and gate.group_score == "sum of 2":
        raise OptionError(
            f"'{mixture.name}': its router compares groups by the sum of their two best experts ({gate}), which copies "
            "of one would both be. Use routing='replica', which is exact for every gate."
        )
    outputs = output_tensors(experts, call)
    divides = gate.renormalised or gate.score == "softmax"
    if not outputs:
        if not divides:
            raise OptionError(
                f"'{mixture.name}': the weights of copies would add up ({gate}), and no tensor of an expert was found "
                "that its output is proportional to, to take that back. Use routing='replica'."
            )
        even = np.full(sum(counts), 1.0)
        return Copies(counts, times * gate.top_k, even, even / times, (), _of_bias(gate, counts))
    parts = np.tile(np.arange(1, times + 1) / (times * (times + 1) / 2), len(counts))
    factors = parts * (times if divides else 1)
    return Copies(counts, times * gate.top_k, factors, parts, outputs, _of_bias(gate, counts))


def freed(mixture: Mixture, counts: Counts, experts: nn.Module, call: Call) -> Copies:
    """Copies that the router chooses among like any others.

    Raises:
        OptionError: the gate's rule is unknown.
    """
    gate = _known(mixture, "free")
    parts = 1.0 / np.repeat(counts, counts)
    outputs: tuple[str, ...] = ()
    factor = 1.0
    if gate.score == "softmax" and not gate.renormalised:  # a softmax over all has a larger denominator
        outputs = output_tensors(experts, call)
        if not outputs:
            raise OptionError(
                f"'{mixture.name}': copies make the weights of a softmax over all experts smaller ({gate}), and no "
                "tensor of an expert was found that its output is proportional to. Use routing='replica'."
            )
        factor = sum(counts) / len(counts)
    return Copies(counts, gate.top_k, np.full(sum(counts), factor), parts, outputs, _of_bias(gate, counts))


def _of_bias(gate: Gate, counts: Counts) -> float:
    return len(counts) / sum(counts) if gate.score == "softmax" and gate.added_to == "scores" else 1.0


def _known(mixture: Mixture, routing: str) -> Gate:
    if mixture.sources != mixture.size:
        raise OptionError(
            f"'{mixture.name}' has replicas behind its router; routing='{routing}' makes copies in front of it. "
            "routing='replica' gives it more of them."
        )
    if mixture.gate is None:
        raise OptionError(
            f"'{mixture.name}': its gate follows none of the rules known (softmax or sigmoid, the K largest, with or "
            f"without a bias, groups, renormalisation), so what copies do to it isn't known either. "
            "routing='replica' is exact for every gate."
        )
    return mixture.gate


def set_copies(student: nn.Module, mixture: Mixture, total: int, top_k: int) -> dict[str, tuple[int, int]]:
    """Put copies of experts and their rows of the router into a copy of the teacher, without numbers in them yet.

    Args:
        student: a copy of the teacher's modules.
        mixture: what grows.
        total: how many experts there will be.
        top_k: how many will compute a token.

    Returns:
        The attributes that are other numbers now, by path: before and after.

    Raises:
        CouplingError: nothing says how many experts compute a token.
    """
    assert mixture.gate is not None
    if mixture.stack:
        experts = student.get_submodule(mixture.stack)
        for name, parameter in list(experts.named_parameters(recurse=False)):
            grown = torch.empty(total, *parameter.shape[1:], dtype=parameter.dtype, device="meta")
            setattr(experts, name, nn.Parameter(grown, parameter.requires_grad))
    else:
        container = student.get_submodule(mixture.name)
        if not isinstance(container, nn.ModuleList):
            raise CouplingError(
                f"'{mixture.name}' is a {type(container).__name__}, whose names of experts its block knows. Experts in "
                "an nn.ModuleList get copies; routing='replica' works for every container."
            )
        like = container[0]
        container.extend(structural_copy(like, lambda _, t: empty(t)) for _ in range(total - len(container)))
    for name in mixture.gate.tensors:
        owner, _, last = name.rpartition(".")
        module: Any = student.get_submodule(owner)
        tensor = getattr(module, last)
        shape = [
            total if s == mixture.size and k == axis_of_experts(tensor, mixture) else s
            for k, s in enumerate(tensor.shape)
        ]
        new = torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
        setattr(module, last, nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new)
        if isinstance(module, nn.Linear):
            module.out_features = total
    return _renumber(student, mixture, total, top_k)


def axis_of_experts(tensor: torch.Tensor, mixture: Mixture) -> int:
    """The axis of experts of one of the router's tensors: its rows, or the only axis that isn't 1."""
    return next(k for k, size in enumerate(tensor.shape) if size == mixture.size)


def _renumber(student: nn.Module, mixture: Mixture, total: int, top_k: int) -> dict[str, tuple[int, int]]:
    """Set the numbers of experts and of those per token anew, where their names say that they are these."""
    changed: dict[str, tuple[int, int]] = {}
    before = mixture.top_k
    for path, module in student.get_submodule(mixture.block).named_modules():
        whole = ".".join(filter(None, (mixture.block, path)))
        if mixture.members and f"{whole}.".startswith(f"{mixture.name}."):
            continue
        for name, value in list(vars(module).items()):
            if not isinstance(value, int) or isinstance(value, bool):
                continue
            for names, old, new in ((EXPERT_COUNT, mixture.size, total), (TOP_K, before, top_k)):
                if names.fullmatch(name) and value == old and old != new:
                    setattr(module, name, new)
                    changed[f"{whole}.{name}"] = (old, new)
    if top_k != before and not any(TOP_K.fullmatch(path.rpartition(".")[2]) for path in changed):
        raise CouplingError(
            f"no number in '{mixture.block}' says by its name that {before} experts compute a token (such as top_k or "
            "num_experts_per_tok), so it can't be raised. Use routing='replica'."
        )
    return changed


def set_words(student: nn.Module, changes: list[tuple[Mixture, int, int]]) -> dict[str, tuple[int, int]]:
    """Set the numbers of a transformers config, and those that its model keeps, where all mixtures grow alike."""
    sizes = {(m.size, total, m.top_k, top_k) for m, total, top_k in changes}
    if len(sizes) != 1:
        return {}
    size, total, before, top_k = sizes.pop()
    changed: dict[str, tuple[int, int]] = {}
    holders: dict[str, Any] = {path: m for path, m in student.named_modules() if is_pretrained(m)}
    holders |= {f"{path}.config" if path else "config": m.config for path, m in holders.items()}
    for path, holder in holders.items():
        for name, value in list(vars(holder).items()):
            for names, old, new in ((EXPERT_COUNT, size, total), (TOP_K, before, top_k)):
                if names.fullmatch(name) and type(value) is int and value == old and old != new:
                    setattr(holder, name, new)
                    changed[f"{path}.{name}" if path else name] = (value, new)
    return changed


def copied_tensors(model: nn.Module, mixture: Mixture, copies: Copies, noise: float = 0.0) -> dict[str, TensorPlan]:
    """How the tensors of copies and of the router's rows are made.

    Args:
        model: the teacher.
        mixture: what grows.
        copies: how.
        noise: the bound of uniform noise on the bias by which experts are chosen, of all copies but the first of each:
            on the bias of the choice, of the logits, or on the router's rows if there is none.
    """
    assert mixture.gate is not None
    source = source_of(copies.counts)
    tensors = dict(_of_experts(model, mixture, copies, source))
    noisy = mixture.gate.selection or mixture.gate.bias or mixture.gate.weight
    for name in mixture.gate.tensors:
        owner, _, last = name.rpartition(".")
        tensor = getattr(model.get_submodule(owner), last)
        axis = axis_of_experts(tensor, mixture)
        shrunk = name == mixture.gate.selection and copies.bias != 1.0
        factor = np.full(len(source), copies.bias) if shrunk else None
        along = AxisMap(source, factor=factor, gradient=1.0 / np.repeat(copies.counts, copies.counts))
        drawn = Noise("paper" if name == mixture.gate.weight else "uniform", axis, noise)
        added = (drawn,) if name == noisy and noise else ()
        shape = tuple(len(source) if k == axis else s for k, s in enumerate(tensor.shape))
        tensors[name] = TensorPlan(shape, tuple(along if k == axis else None for k in range(tensor.dim())), noise=added)
    return tensors


def _of_experts(
    model: nn.Module, mixture: Mixture, copies: Copies, source: np.ndarray
) -> Iterator[tuple[str, TensorPlan]]:
    gradients = copies.parts / copies.factors
    if mixture.stack:
        for name, p in model.get_submodule(mixture.stack).named_parameters(recurse=False):
            if name in copies.outputs:
                along = AxisMap(source, factor=copies.factors, gradient=gradients)
            else:
                along = AxisMap(source, gradient=copies.parts)
            yield f"{mixture.stack}.{name}", TensorPlan((len(source), *p.shape[1:]), (along, *[None] * (p.dim() - 1)))
        return
    for number, expert in enumerate(source):
        member = mixture.members[expert]
        module = model.get_submodule(member)
        for name, t in module.state_dict(keep_vars=True).items():
            is_output = name in copies.outputs
            rows = t.shape[0] if t.dim() else 0
            along = AxisMap(
                np.arange(rows),
                factor=np.full(rows, copies.factors[number]) if is_output else None,
                gradient=np.full(rows, (gradients if is_output else copies.parts)[number]),
            )
            axes = (along, *[None] * (t.dim() - 1)) if t.dim() else ()
            yield f"{mixture.name}.{number}.{name}", TensorPlan(tuple(t.shape), axes, source=f"{member}.{name}")
