"""Gradients are cut off where they are far larger than they have been, entry by entry."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from net2net.errors import OptionError, require_kind

_SECOND_MOMENTS = ("exp_avg_sq", "square_avg")


def clip(optimizer: Optimizer, factor: float = 5.0) -> RemovableHandle:
    """Cut every entry of a gradient off at so many times its running size: to plus or minus `factor` sqrt(v).

    v is the running second moment of the gradient before it is cut off, entry by entry. It begins as the optimizer's
    own, where that keeps one, so that a growth goes on with it, and else with the first gradient.

    Args:
        optimizer: any; `growth.optimizer(..., clip=5.0)` calls this.
        factor: how many times; 5 in OpenAI Five.

    Returns:
        A handle; `handle.remove()` ends it.

    Raises:
        OptionError: the factor is no number above 0.

    Source: OpenAI et al. (2019), appendix C: gradients are clipped per parameter to +-5 sqrt(v).

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = torch.optim.SGD([weight], lr=1.0)
        >>> handle = clip(optimizer, factor=5.0)
        >>> for size in (1.0, 1.0, 100.0):
        ...     weight.grad = torch.tensor([size, 1.0])
        ...     optimizer.step()
        >>> bool(weight[0] > -20), weight[1].item()  # the third step would have been 100
        (True, -3.0)
    """
    require_kind(optimizer, Optimizer, "the optimizer", "a torch.optim.Optimizer")
    require_factor(factor)
    moments: dict[torch.Tensor, torch.Tensor] = {}

    @torch.no_grad()
    def before(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            decay = group["betas"][1] if "betas" in group else group.get("alpha", 0.999)
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None or gradient.is_sparse:
                    continue
                if parameter not in moments:
                    moments[parameter] = _begun(optimizer.state.get(parameter, {}), gradient, decay)
                moment = moments[parameter]
                moment.mul_(decay).addcmul_(gradient.to(moment), gradient.to(moment), value=1 - decay)
                most = (moment.sqrt() * factor).to(gradient)
                gradient.clamp_(-most, most)

    return optimizer.register_step_pre_hook(before)


def require_factor(factor: object) -> None:
    """Raise if something is no factor of a clip.

    Raises:
        OptionError: it is none.
    """
    if isinstance(factor, bool) or not isinstance(factor, (int, float)) or not 0 < factor < math.inf:
        raise OptionError(f"clip={factor!r}: give how many times its running size a gradient may be, such as 5.0.")


def _begun(state: Any, gradient: torch.Tensor, decay: float) -> torch.Tensor:
    """The running second moment so far, without the bias of its first steps."""
    for name in _SECOND_MOMENTS:
        moment = state.get(name)
        if isinstance(moment, torch.Tensor) and moment.shape == gradient.shape:
            steps = float(state.get("step", 0))
            unbiased = moment.float() / (1 - decay**steps) if name == "exp_avg_sq" and steps > 0 else moment.float()
            return unbiased.clone()
    return gradient.float().square()
