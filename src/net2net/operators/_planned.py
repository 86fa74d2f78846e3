"""What `transfer` would do, before there are weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from net2net.analysis import analyze
from net2net.capture import Inputs, examples_of, require_module, unobserved
from net2net.depth import DepthOptions
from net2net.errors import GrowthError
from net2net.operators._as_deep import as_deep
from net2net.operators._between import plan_of
from net2net.plan import Plan
from net2net.width import NoiseSpec, WidthOptions


@unobserved
def plan_transfer(
    teacher: nn.Module,
    student: nn.Module,
    example_inputs: Inputs,
    *,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    init: str = "identity",
    positions: Any = None,
    seed: int = 0,
) -> Plan:
    """The plan of a transfer. No weight is read: both models may be on the meta device. Nothing is proved.

    Args:
        teacher, student, example_inputs, how, shares, noise, init, positions, seed: as for `transfer`.

    Raises:
        StudentMismatchError: the student is not the teacher's network at larger sizes.
        GrowthError: the sizes can't be reached exactly.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     small, large = (nn.Sequential(nn.Linear(4, n), nn.ReLU(), nn.Linear(n, 2)) for n in (8, 11))
        >>> plan_transfer(small, large, torch.randn(3, 4)).preserves
        'exact'
    """
    options, depth = WidthOptions(how, shares, noise, seed), DepthOptions(init, positions, seed=seed)
    require_module(teacher, "the teacher")
    require_module(student, "the student")
    examples = examples_of(example_inputs, model=teacher)
    refusal: GrowthError | None = None
    for deeper in as_deep(teacher, student, examples, depth, None):
        source = teacher if deeper is None else deeper.student
        try:
            plan = plan_of(source, analyze(source, examples), student, deeper and deeper.plan, options)
        except GrowthError as error:
            refusal = refusal or error
            continue
        return plan if deeper is None else plan.after(deeper.plan)
    assert refusal is not None
    raise refusal
