"""What the optimizer goes on with after a growth: carried, or with parts of its state at zero."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from net2net.experiments._courses import Stage
from net2net.growth import Growth
from net2net.optimizer import followed, grow_optimizer
from net2net.plan import AxisMap

_MOMENTS = ("exp_avg", "exp_avg_sq")


def after_growth(stage: Stage, growth: Growth, optimizer: Optimizer) -> tuple[nn.Module, Optimizer]:
    """The student and its optimizer.

    With `state` "new reset" the moments of what is new are zero, and of all copies but the first of each unit: the
    asymmetric reset of SPARKLING (arXiv 2602.02472, section 4.2). With "reset" the optimizer begins anew.
    """
    result = grow_optimizer(growth.plan, growth.teacher, growth.student, optimizer, ramped=stage.again)
    if stage.state == "reset":
        result.state.clear()
    elif stage.state == "new reset":
        for member in followed(growth.plan, growth.teacher, growth.student):
            new = _new_entries(member.parameter, [m for step in member.steps for m in step.axes], member.is_new)
            for name in _MOMENTS:
                result.state[member.parameter][name][new] = 0.0
    return growth.student, result


def _new_entries(parameter: Tensor, axes: list[AxisMap | None], whole: bool) -> Tensor:
    """Where a parameter holds what the teacher didn't, or a second copy of it."""
    found = torch.full(parameter.shape, whole)
    if not whole:
        for axis, places in enumerate(axes[-parameter.dim() :]):
            if places is not None:
                first = np.zeros(len(places.source), bool)
                old = np.flatnonzero(places.source >= 0)
                first[old[np.unique(places.source[old], return_index=True)[1]]] = True
                found |= torch.from_numpy(~first).view([-1 if k == axis else 1 for k in range(parameter.dim())])
    return found
