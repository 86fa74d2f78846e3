"""A plan, from memory or from disk, carried out on another network."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from net2net.capture import Inputs, Methods
from net2net.errors import require_kind
from net2net.growth import Growth, one_growth
from net2net.operators._deepen import deepen_along
from net2net.operators._widen import widen_along
from net2net.plan import Plan, Widening

# Carries out a plan on a network, given the example inputs and methods beside `forward`.
Along = Callable[[Plan, nn.Module, Inputs, Methods], Growth]
_ALONG: dict[str, Along] = {"widening": widen_along, "deepening": deepen_along}


def replays(change: str) -> Callable[[Along], Along]:
    """Register what carries out the plans of a kind of change, by the name that it has in `net2net.plan.change`."""

    def register(along: Along) -> Along:
        _ALONG[change] = along
        return along

    return register


def replay(plan: Plan, teacher: nn.Module, example_inputs: Inputs, *, methods: Methods = ()) -> Growth:
    """Carry out the growth that a plan records, on any network with the tensors of the one that it was made for.

    Which units are copied, shares, noise, draws and statistics are the plan's, so the same weights give the same
    student, bit by bit. `Growth.replay` does the same where the growth is still there, without a new analysis.

    Args:
        plan: of `growth.plan`, or from `Plan.load`.
        teacher: another checkpoint, seed or average of weights. It is not changed.
        example_inputs, methods: as for `grow`.

    Returns:
        The growth, verified.

    Raises:
        StudentMismatchError: the network's tensors are not those of the plan.
        GrowthError: its class can't be made at the new sizes; the message says what works.

    Example:
        >>> import tempfile, torch, net2net
        >>> one, other = (nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)) for _ in range(2))
        >>> file = f"{tempfile.mkdtemp()}/plan.safetensors"
        >>> net2net.widen(one, {"0": 12}, torch.randn(3, 4)).plan.save(file)
        >>> replay(Plan.load(file), other, torch.randn(3, 4)).student[0]
        Linear(in_features=4, out_features=12, bias=True)
    """
    require_kind(plan, Plan, "the plan", "a Plan: growth.plan, or Plan.load(path)")
    whole: Growth | None = None
    for step in plan.steps:
        model = teacher if whole is None else whole.student
        growth = _ALONG[step.changes[0].change if step.changes else Widening.change](
            step, model, example_inputs, methods
        )
        whole = growth if whole is None else one_growth(teacher, whole, growth, growth.inputs)
    assert whole is not None
    return whole
