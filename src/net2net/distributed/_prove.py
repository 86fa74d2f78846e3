"""Teacher and student on the same inputs, each on its shards; the errors of all ranks are one proof."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from net2net.capture import Example
from net2net.distributed._agree import gathered
from net2net.distributed._layout import at_rest
from net2net.growth import Known
from net2net.plan import Plan
from net2net.proof import MODES, Promise, Verification, move, relative_error, require, run


def prove(
    teacher: nn.Module, student: nn.Module, plan: Plan, known: Known, examples: tuple[Example, ...]
) -> Verification:
    """One pass of each on every example, in eval and in train mode, in the models' own precision.

    Raises:
        VerificationError: the student doesn't compute what the teacher does; on all ranks.
    """
    dtype, computed = _dtypes(teacher)
    device = next((t.device for t in teacher.parameters()), torch.device("cpu"))
    errors: dict[str, float] = {}
    kept = [(model, model.training, {n: b.clone() for n, b in model.named_buffers()}) for model in (teacher, student)]
    try:
        for mode in MODES:
            for example in (e for e in examples if not e.train):
                given = move(example, dtype, device)
                theirs = known.interface.of_student(teacher, example.method, given)
                method = "__call__" if example.method == "forward" else example.method  # hooks gather the weights
                ours = known.interface.kept(run(teacher, method, given, mode), example.method)
                new = known.interface.kept(run(student, method, theirs, mode), example.method, of_student=True)
                for name, value in ours.items():
                    if isinstance(value, torch.Tensor) and value.numel():
                        other = new.get(name)
                        same = isinstance(other, torch.Tensor) and other.shape == value.shape
                        key = "/".join((mode, " ".join(filter(None, ("given", example.name))), name))
                        errors[key] = relative_error(value, other) if same and other is not None else math.inf
    finally:
        for model, training, buffers in kept:
            at_rest(model).train(training)
            for name, buffer in model.named_buffers():
                buffer.copy_(buffers[name])
    together = gathered(errors)
    worst = {key: max((e.get(key, math.nan) for e in together), key=_size) for key in errors}
    norms = any(n.endswith("running_mean") and t.fill == "values" for s in plan.steps for n, t in s.tensors.items())
    promise = Promise(plan.preserves, ("train",) if norms else (), known.float32_inside)
    found = Verification(
        worst,
        max(promise.tolerance(teacher), _TOLERANCES.get(computed, 0.0)),
        plan.preserves,
        str(computed).removeprefix("torch."),
        notes=(f"measured on {len(together)} ranks, on the shards; whether new weights learn was not measured",),
        approximate=promise.approximate,
    )
    require(found)
    return found


_TOLERANCES = {torch.float16: 2e-2, torch.bfloat16: 1e-1}


def _dtypes(model: nn.Module) -> tuple[torch.dtype, torch.dtype]:
    """What the weights are stored in, and what FSDP2 computes with."""
    stored = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    policies = [m._get_fsdp_state()._mp_policy for m in model.modules() if isinstance(m, FSDPModule)]
    return stored, next((p.param_dtype for p in policies if p.param_dtype is not None), stored)


def _size(error: float) -> float:
    return math.inf if math.isnan(error) else error
