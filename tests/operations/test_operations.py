"""Every ATen operation that torch's functions, methods and modules become: it has a rule, or is listed in the docs.

A rule is tested by running it: its operation stands alone between stored tensors and readers of its results, every
dimension that the rule leaves free grows, and the student computes what the teacher does.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import net2net
from net2net.apply import grow_state
from net2net.axes import has_rule
from net2net.width import WidthOptions, plan_width

HERE = Path(__file__).parent
EMITTED: dict[str, list[Any]] = json.loads((HERE / "emitted.json").read_text())
DOCS = (HERE.parents[1] / "docs" / "operations.md").read_text()
UNKNOWN = set(re.findall(r"`(aten\.\w+)`", DOCS.partition("## Operations with no rule")[2]))
# They get the sizes of their results, or places in them, as numbers: what a draft of the student finds out.
SIZED = ("aten.narrow", "aten.narrow_copy", "aten.slice", "aten.split_with_sizes", "aten.tensor_split")
UNDEFINED = ("aten.empty_like",)
X = torch.zeros(1)


def base(overload: str) -> str:
    """`aten.add_.Tensor` -> `aten.add_`."""
    return overload.rpartition(".")[0]


def operation(overload: str) -> Any:
    _, name, kind = overload.split(".")
    return getattr(getattr(torch.ops.aten, name), kind, None)


def is_known(overload: str) -> bool:
    target = operation(overload)
    return has_rule(base(overload)) or (target is not None and torch.Tag.pointwise in target.tags)


def test_every_operation_has_a_rule_or_is_listed() -> None:
    left = {base(name) for name in EMITTED if not is_known(name)}
    assert sorted(left - UNKNOWN) == [], "write a rule, or list them in docs/operations.md"
    assert sorted(UNKNOWN - left) == [], "these have a rule now, or aren't emitted: take them off the list"


class Once(nn.Module):
    """One operation on stored tensors. Every axis of its results is summed with weights of its own."""

    def __init__(self, target: Any, call: Any) -> None:
        super().__init__()
        leaves, self.spec = pytree.tree_flatten(decoded(call))
        self.target, self.leaves = target, leaves
        self.stored, self.readers = nn.ParameterList(), nn.ParameterList()
        for leaf in leaves:
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                self.stored.append(nn.Parameter(leaf))
        for result in self.results():
            for length in reversed(result.shape):
                self.readers.append(nn.Parameter(torch.rand(length, dtype=torch.float64) + 0.5))

    def results(self) -> list[Tensor]:
        stored = iter(self.stored)
        leaves = [next(stored).clone() if isinstance(v, Tensor) and v.is_floating_point() else v for v in self.leaves]
        args, kwargs = pytree.tree_unflatten(leaves, self.spec)
        found = pytree.tree_leaves(self.target(*args, **kwargs))
        return [v for v in found if isinstance(v, Tensor) and v.is_floating_point() and v.numel()]

    def forward(self, x: Tensor) -> Tensor:
        readers = iter(self.readers)
        sums = []
        for result in self.results():
            for _ in range(result.dim()):
                result = result.double() @ next(readers)
            sums.append(result)
        return torch.stack(sums)


def decoded(value: Any) -> Any:
    """A value as it was before `generate.py` wrote it down; floats are drawn from their range, in float64."""
    if isinstance(value, list):
        return [decoded(v) for v in value]
    if not isinstance(value, dict):
        return value
    if "torch" in value:
        return torch.device("cpu") if value["torch"] == "cpu" else getattr(torch, value["torch"], None)
    if "unknown" in value:
        raise NotImplementedError(value["unknown"])
    if "tensor" not in value:
        return {k: decoded(v) for k, v in value.items()}
    dtype = getattr(torch, value["dtype"])
    if "entries" in value:
        return torch.tensor(value["entries"], dtype=dtype).reshape(value["tensor"])
    if dtype.is_complex:
        raise NotImplementedError("complex numbers")
    low, high = value["range"]
    return torch.rand(value["tensor"], dtype=torch.float64) * (high - low) + low


def cases() -> Iterator[Any]:
    """One call of each operation; further calls and overloads are for the sweep."""
    seen = set()
    for overload, calls in EMITTED.items():
        target = operation(overload)
        if base(overload) in SIZED + UNDEFINED:
            continue
        if target is None or not is_known(overload) or torch.Tag.nondeterministic_seeded in target.tags:
            continue
        for i, call in enumerate(calls[:2]):
            if '"range"' in json.dumps(call) and "complex" not in json.dumps(call):
                marks = [pytest.mark.sweep] if base(overload) in seen else []
                seen.add(base(overload))
                yield pytest.param(target, call, id=f"{overload}-{i}", marks=marks)


@pytest.mark.parametrize("target, call", list(cases()))
def test_what_a_rule_leaves_free_grows_exactly(target: Any, call: Any) -> None:
    torch.manual_seed(0)
    try:
        net = Once(target, call).eval()
        with torch.no_grad():
            whole = bool(net(X).isfinite().all())
        analysis = net2net.analyze(net, X)
    except (NotImplementedError, RuntimeError, TypeError, IndexError, net2net.CaptureError) as reason:
        pytest.skip(f"doesn't run by itself: {str(reason)[:80]}")
    if not whole or not len(net(X)):
        pytest.skip("its result isn't finite")
    for dimension in analysis.growable():
        atom = analysis.atoms[dimension.name]
        for how in ("zero_out", "split"):
            for size in (atom.size + 1, 2 * atom.size):
                try:
                    plan = plan_width(analysis.sites, {dimension.name: (atom, size)}, WidthOptions(how))
                except net2net.GrowthError:
                    continue
                for draw in range(3):
                    compare(net, plan, draw, (dimension.name, how, size))


def compare(net: Once, plan: net2net.Plan, draw: int, what: Any) -> None:
    """The teacher with other weights (as they are, all negative, all positive) and its student."""
    teacher, student = copy.deepcopy(net), copy.deepcopy(net)
    with torch.no_grad():
        for p in teacher.stored:
            if p.numel() and p.min() < 0 and draw:
                p.copy_(-p.abs() if draw == 1 else p.abs())
        grown = grow_state(plan, dict(teacher.state_dict()))
        for name, p in student.named_parameters():
            p.data = grown[name]
        try:
            theirs = student(X)
        except (RuntimeError, IndexError, ValueError):
            return  # its size is an argument of the operation, which the draft of a student would show
        if not theirs.isfinite().all():
            return  # random units outside of a function's domain, which the proof of a growth finds
        ours = teacher(X)
        finite = ours.isfinite()
        scale = float(ours[finite].abs().max()) if finite.any() else 0.0
        error = float((ours - theirs)[finite].abs().max()) / max(scale, 1e-6) if finite.any() else 0.0
        assert error <= 1e-9, (what, error)
