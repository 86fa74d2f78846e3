"""A sharded network grows: the same layout out, parameters and optimizer state as each rank's own part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.optim import Optimizer

from net2net.capture import Inputs, Methods, examples_of, require_module
from net2net.depth import DepthOptions
from net2net.distributed._agree import gathered, together
from net2net.distributed._bare import bare, whole
from net2net.distributed._fill import fill, like
from net2net.distributed._layout import at_rest, shard_alike
from net2net.distributed._prove import prove
from net2net.errors import OptionError
from net2net.operators import Made, carried_along, planned
from net2net.optimizer import RAMP_STEPS, grow_optimizer, require_ramp
from net2net.optimizer import ramp as start_ramp
from net2net.plan import Plan
from net2net.proof import Verification
from net2net.width import WidthOptions

_OPTIONS = ("sizes", "where", "how", "shares", "noise", "init", "positions", "kernel", "seed", "unread")


@dataclass(frozen=True)
class ShardedGrowth:
    """A finished growth of a sharded network: student and optimizer, sharded as the teacher's, and the proof."""

    student: nn.Module
    plan: Plan
    verification: Verification
    optimizer: Optimizer | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.plan}\n{self.verification}"


def grow(
    model: nn.Module,
    plan_or_request: Any,
    inputs: Inputs,
    *,
    mesh: DeviceMesh | None = None,
    optimizer: Optimizer | None = None,
    parallelize: Callable[[nn.Module], Any] | None = None,
    rates: str = "keep",
    ramp: int | None = None,
    methods: Methods = (),
) -> ShardedGrowth:
    """Grow a network that is sharded over processes; every rank calls it, and gets its own part.

    No rank holds more than its shards of teacher and student and the tensors that one tensor of the student is made
    of. The plan is made on every rank without weights and is the same on all; random entries don't depend on how many
    ranks there are.

    Args:
        model: the teacher, sharded by `fully_shard` (FSDP2), or with DTensors of any other layout if `parallelize` is
            given. It is not changed.
        plan_or_request: a `Plan` (of `net2net.widen`, of a file), a request as for `net2net.widen` (a factor, or a
            dict of sizes), or a dict of arguments of `net2net.grow`: `{"where": {"layers": 2}, "sizes": "2x"}`.
        inputs: example inputs as for `net2net.grow`, of the same shapes on every rank.
        mesh: where the student is sharded, if not where the teacher is.
        optimizer: the one that trains the teacher; it is not changed.
        parallelize: shards the student in place, as the same function sharded the teacher. It is called with a student
            whose parameters are on the meta device.
        rates, ramp: of the optimizer, as for `Growth.optimizer`.
        methods: as for `net2net.grow`.

    Returns:
        The growth, with its student and optimizer as DTensors; on all ranks.

    Raises:
        GrowthError: on all ranks: the request can't be met, plans differ, a rank failed, or the student isn't exact.

    Example:
        >>> import net2net
        >>> teacher = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> growth = net2net.distributed.grow(teacher, {"0": 12}, torch.randn(3, 4))  # one process: nothing is sharded
        >>> growth.student[0], growth.verification.passed
        (Linear(in_features=4, out_features=12, bias=True), True)
    """
    require_module(model, "the network to grow")
    require_ramp(ramp)
    at_rest(model)
    with together("planning") as reason:
        skeleton = bare(model)
        made = _made(skeleton, plan_or_request, inputs, methods)
    _same_everywhere(made.plan)
    with together("sharding the student"):
        student = bare(made.student)
        if parallelize is None:
            shard_alike(model, student, mesh)
        else:
            parallelize(student)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with together("growing") as reason:
        fill(made.plan, model, made.student, student, device, reason)
    student.train(model.training)
    with together("the optimizer"):
        new = None if optimizer is None else _optimizer(made.plan, model, student, optimizer, rates, ramp)
    with together("the proof"):
        verification = prove(model, student, made.plan, made.known, examples_of(inputs, methods, model))
    return ShardedGrowth(student, made.plan, verification, new)


def _made(skeleton: nn.Module, asked: Any, inputs: Inputs, methods: Methods) -> Made:
    examples = examples_of(inputs, methods, skeleton)
    if isinstance(asked, Plan):
        asked.require_replayable()
        return carried_along(asked, skeleton, examples)
    words = dict(asked) if isinstance(asked, Mapping) and asked.keys() & {"sizes", "where"} else {"sizes": asked}
    unknown = sorted(set(words) - set(_OPTIONS))
    if unknown:
        raise OptionError(f"the request has {unknown[0]!r}; it may have {', '.join(_OPTIONS)}.")
    seed = words.get("seed", 0)
    width = WidthOptions(words.get("how"), words.get("shares", "uneven"), words.get("noise"), seed)
    depth = DepthOptions(words.get("init", "identity"), words.get("positions"), words.get("kernel"), seed)
    return planned(
        skeleton,
        inputs,
        sizes=words.get("sizes"),
        where=words.get("where"),
        width=width,
        depth=depth,
        methods=methods,
        unread=words.get("unread", "refuse"),
    )


def _same_everywhere(plan: Plan) -> None:
    """Raise, on all ranks, if two ranks have another plan."""
    prints = gathered(plan.fingerprint)
    odd = next((rank for rank, text in enumerate(prints) if text != prints[0]), None)
    if odd is not None:
        raise OptionError(
            f"rank {odd} plans another growth than rank 0. Give every rank the same request, seed and versions, and "
            "inputs of the same shapes."
        )


def _optimizer(
    plan: Plan, teacher: nn.Module, student: nn.Module, optimizer: Optimizer, rates: str, ramp: int | None
) -> Optimizer:
    steps = (0 if rates == "trajectory" else RAMP_STEPS) if ramp is None else ramp
    result = grow_optimizer(
        plan, teacher, student, optimizer, rates, ramped=steps != 0, whole=whole, part=lambda t, p: like(t, p, p.device)
    )
    if steps:
        start_ramp(result, steps)
    return result
