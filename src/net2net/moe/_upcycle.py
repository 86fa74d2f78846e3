"""Expert upcycling: a mixture with more experts that computes the same."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from net2net._version import __version__
from net2net.capture import Example, Inputs, examples_of, require_teacher, structural_copy, unobserved
from net2net.errors import OptionError, StudentMismatchError
from net2net.growth import Growth, Known, carried_out, compiled_alike, proved
from net2net.moe._change import Upcycling
from net2net.moe._counts import Counts, Experts, Scores, requested
from net2net.moe._mixtures import Mixture, Mixtures, Tokens, look
from net2net.moe._replicas import new_units, replica_tensors, set_replicas, source_of
from net2net.operators import Made, replays
from net2net.plan import AxisMap, Plan, TensorPlan

ROUTINGS = ("replica", "raise_k", "free")


@unobserved
def upcycle(
    model: nn.Module,
    experts: Experts,
    example_inputs: Inputs,
    *,
    routing: str = "replica",
    scores: Scores | None = None,
    cap: int = 3,
    seed: int = 0,
) -> Growth:
    """Give mixtures of experts more experts, copies of their own, without changing what the network computes.

    Args:
        model: the teacher. It is not changed.
        experts: for every mixture the new number of experts (an int), a factor (2.0 or "2x") or a list that says how
            often each expert is there; or a dict from names of mixtures, or globs, to one of these.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments, or a list of several.
        routing: "replica": the teacher's router goes on to choose among the experts that were there, and a second map
            chooses one replica of each; exact for every gate, with the compute of before.
        scores: from `net2net.expert_scores`: experts that score higher get more replicas. By default all get the same
            number, and the first ones one more where that doesn't divide.
        cap: how many further replicas an expert gets at most, where `scores` say how many.
        seed: of the draw of the second map.

    Returns:
        The growth: the replicas of an expert are equal, and differ from the first step on, as each has tokens of its
        own. Call `net2net.balance_experts(student)` after each step, so that all of them get some.

    Raises:
        GrowthError: a mixture can't grow so; the message says why, and what works.

    Source: Expert Upcycling, arXiv 2604.19835 (copies of experts, counts by utility); the routing in two levels is
        this library's.

    Example:
        >>> import torch, net2net
        >>> from net2net.moe import MixtureOfExperts
        >>> teacher = nn.Sequential(nn.Linear(3, 8), MixtureOfExperts(8, 16, experts=4, top_k=2), nn.Linear(8, 2))
        >>> growth = upcycle(teacher, "2x", torch.randn(5, 3))
        >>> growth.student[1].experts.routing, growth.verification.passed
        (ReplicaRouting(4 -> 8 experts, tokens of 8 features), True)
    """
    if routing not in ROUTINGS:
        raise OptionError(f"routing={routing!r} is not known; use one of {', '.join(ROUTINGS)}.")
    require_teacher(model, example_inputs)
    examples = examples_of(example_inputs, model=model)
    found, unknown, tokens = look(model, examples)
    if not found:
        reasons = "; ".join(f"'{name}': {reason}" for name, reason in list(unknown.items())[:5])
        raise OptionError(f"{type(model).__name__} has no mixture of experts that can be upcycled. {reasons}".rstrip())
    counts = requested(Mixtures(found, unknown), experts, scores, cap)
    plan = _replica_plan(model, found, counts, tokens, seed)
    rest = {name: "it has as many experts as asked for" for name in found if name not in counts}
    made = _made(model, replace(plan, left_out=unknown | rest), found)
    return compiled_alike(proved(model, made.student, made.plan, examples, made.known))


def _replica_plan(
    model: nn.Module, found: dict[str, Mixture], counts: dict[str, Counts], tokens: dict[str, Tokens], seed: int
) -> Plan:
    tensors: dict[str, TensorPlan] = {}
    removed: tuple[str, ...] = ()
    for name, some in counts.items():
        mine, gone = replica_tensors(model, found[name], some, tokens[name], seed)
        tensors |= mine
        removed += gone
    changes = tuple(
        Upcycling(name, found[name].size, sum(some), "replica", AxisMap(source_of(some)))
        for name, some in counts.items()
    )
    return Plan(tensors, changes, seed, removed=removed, version=__version__)


@replays("upcycling")
def upcycled_along(plan: Plan, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What a plan of more experts makes of another network with the same mixtures, before its proof.

    Raises:
        StudentMismatchError: its mixtures are others.
    """
    found, _, _ = look(model, examples)
    for change in plan.changes:
        assert isinstance(change, Upcycling)
        size = found[change.experts].size if change.experts in found else None
        if size != change.before:
            has = "has no such mixture" if size is None else f"has {size}"
            raise StudentMismatchError(
                f"the plan makes {change.before} experts of '{change.experts}' {change.after}, and "
                f"{type(model).__name__} {has}. A plan is replayed on networks of the shapes that it was made for."
            )
    return _made(model, plan, found)


def _made(model: nn.Module, plan: Plan, found: dict[str, Mixture]) -> Made:
    template = structural_copy(model)
    changed: dict[str, tuple[int, int]] = {}
    for change in plan.changes:
        assert isinstance(change, Upcycling)
        changed |= set_replicas(template, found[change.experts], change.counts)
    plan = replace(plan, changed=changed)
    return Made(carried_out(plan, model, template), plan, Known(tuple(new_units(plan))))
