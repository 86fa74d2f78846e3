"""Expert upcycling: a mixture with more experts that computes the same."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from net2net._version import __version__
from net2net.capture import Example, Inputs, examples_of, require_teacher, structural_copy, unobserved
from net2net.errors import OptionError, StudentMismatchError
from net2net.growth import Growth, Known, carried_out, compiled_alike, proved
from net2net.moe._change import Upcycling
from net2net.moe._copies import copies_plan, require_mixtures
from net2net.moe._counts import Counts, Experts, Scores, requested
from net2net.moe._dense import dense_made
from net2net.moe._mixtures import Look, chosen_together, look
from net2net.moe._replicas import new_units, replica_tensors, set_replicas, source_of
from net2net.moe._starts import check_redrawn, redrawn_experts
from net2net.moe._stock import set_copies, set_words
from net2net.operators import Made, replays, told
from net2net.plan import AxisMap, Plan, TensorPlan
from net2net.pretrained import Search, is_pretrained, shapes

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
    noise: float = 1e-3,
    top_k: int | None = None,
    granularity: int = 1,
    shared: bool = False,
    redrawn: float = 0.0,
    seed: int = 0,
) -> Growth:
    """Give mixtures of experts more experts, copies of their own, without changing what the network computes.

    With `top_k` dense feed-forwards become mixtures instead (sparse upcycling): copies of them behind a new router.

    Args:
        model: the teacher. It is not changed.
        experts: for every mixture the new number of experts (an int), a factor (2.0 or "2x") or a list that says how
            often each expert is there; or a dict from names of mixtures, or globs, to one of these.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments, or a list of several.
        routing: "replica": the teacher's router goes on to choose among the experts that were there, and a second map
            chooses one replica of each; exact for every gate, with the compute of before. "raise_k": m copies of each
            expert in the network's own class, and m times as many experts per token; exact for the gates known, with m
            times the compute. "free": copies among which the router chooses as among any experts, as published;
            approximate: the growth says how far off it is.
        scores: from `net2net.expert_scores`: experts that score higher get more replicas. By default all get the same
            number, and the first ones one more where that doesn't divide.
        cap: how many further replicas an expert gets at most, where `scores` say how many.
        noise: the bound of the noise on the bias by which copies are chosen, with "free" routing.
        top_k: makes feed-forwards into `MixtureOfExperts`, of which so many experts compute a token.
        granularity: into how many parts the hidden units of a feed-forward are cut; each expert has one of them, and
            `top_k` has to be a multiple.
        shared: whether the feed-forward stays as an expert for every token, with half of the output.
        redrawn: the share of the hidden units of new experts that is drawn anew, the same units in all matrices of an
            expert: such a growth doesn't preserve the function, and says so. With 1 new experts are random, and so are
            their rows in the router; with `top_k` every expert has units drawn anew (Drop-Upcycling).
        seed: of the draw of the second map, of the noise, of units, or of the new router.

    Returns:
        The growth: the replicas of an expert are equal, and differ from the first step on, as each has tokens of its
        own. Call `net2net.balance_experts(student)` after each step, so that all of them get some.

    Raises:
        GrowthError: a mixture can't grow so; the message says why, and what works.

    Source: Expert Upcycling, arXiv 2604.19835 (copies of experts, counts by utility); Drop-Upcycling, arXiv 2502.19261
        (units drawn anew); the routing in two levels is this library's.

    Example:
        >>> import torch, net2net
        >>> from net2net.moe import MixtureOfExperts
        >>> teacher = nn.Sequential(nn.Linear(3, 8), MixtureOfExperts(8, 16, experts=4, top_k=2), nn.Linear(8, 2))
        >>> growth = upcycle(teacher, "2x", torch.randn(5, 3))
        >>> growth.student[1].experts.routing, growth.verification.passed
        (ReplicaRouting(4 -> 8 experts, tokens of 8 features), True)
        >>> dense = nn.Sequential(nn.Linear(3, 8), nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)))
        >>> upcycle(dense, 8, torch.randn(5, 3), top_k=2).student[1].experts.up.shape
        torch.Size([8, 16, 8])
    """
    if routing not in ROUTINGS:
        raise OptionError(f"routing={routing!r} is not known; use one of {', '.join(ROUTINGS)}.")
    check_redrawn(redrawn, routing, top_k is not None)
    require_teacher(model, example_inputs)
    examples = examples_of(example_inputs, model=model)
    if top_k is not None:
        if routing != "replica" or scores is not None:
            raise OptionError("top_k= makes feed-forwards into mixtures, which routing= and scores= don't go with.")
        made = dense_made(model, experts, examples, top_k, granularity, shared, redrawn, seed)
        return compiled_alike(told(proved(model, made.student, made.plan, examples, made.known)))
    seen = look(model, examples)
    found, unknown = seen.mixtures.found, seen.mixtures.unknown
    require_mixtures(model, seen)
    counts = requested(seen.mixtures, experts, scores, cap)
    if routing == "replica":
        plan = _replica_plan(model, seen, counts, seed)
    else:
        plan = copies_plan(model, model, seen, counts, routing, noise, seed)
    if redrawn:
        growing = {name: found[name] for name in counts}
        plan = replace(
            plan,
            tensors=redrawn_experts(model, examples, growing, plan.tensors, redrawn, seed),
            changes=tuple(
                replace(change, redrawn=redrawn, preserves="none")
                for change in plan.changes
                if isinstance(change, Upcycling)
            ),
            preserves="none",
        )
    rest = {name: "it has as many experts as asked for" for name in found if name not in counts}
    made = _made(model, replace(plan, left_out=unknown | rest), seen, examples)
    return compiled_alike(told(proved(model, made.student, made.plan, examples, made.known)))


def _replica_plan(model: nn.Module, seen: Look, counts: dict[str, Counts], seed: int) -> Plan:
    found = seen.mixtures.found
    tensors: dict[str, TensorPlan] = {}
    removed: tuple[str, ...] = ()
    for name, some in counts.items():
        mine, gone = replica_tensors(model, found[name], some, seen.tokens[name], seed)
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
    seen = look(model, examples)
    found = seen.mixtures.found
    for change in plan.changes:
        assert isinstance(change, Upcycling)
        size = found[change.experts].size if change.experts in found else None
        if size != change.before:
            has = "has no such mixture" if size is None else f"has {size}"
            raise StudentMismatchError(
                f"the plan makes {change.before} experts of '{change.experts}' {change.after}, and "
                f"{type(model).__name__} {has}. A plan is replayed on networks of the shapes that it was made for."
            )
    return _made(model, plan, seen, examples)


def _made(model: nn.Module, plan: Plan, seen: Look, examples: tuple[Example, ...]) -> Made:
    """The student of a plan, and the plan with what is measured in it."""
    template, found = structural_copy(model), seen.mixtures.found
    changed: dict[str, tuple[int, int]] = {}
    stock = []
    changes = [change for change in plan.changes if isinstance(change, Upcycling)]
    for change in changes:
        mixture = found[change.experts]
        if change.top_k is None:
            changed |= set_replicas(template, mixture, change.counts)
        else:
            changed |= set_copies(template, mixture, change.after, change.top_k[1])
            stock.append((mixture, change.after, change.top_k[1]))
    if len(stock) == len(found):
        changed |= set_words(template, stock)
    plan = replace(plan, changed=changed)
    student = carried_out(plan, model, template)
    if plan.preserves != "exact":
        given = look(student, examples).tokens
        measured = [replace(c, together=chosen_together(given[c.experts], c.units.source)) for c in changes]
        plan = replace(plan, changes=tuple(measured))
    if stock and not _config_fits(student):
        plan = replace(plan, notes=tuple(dict.fromkeys([*plan.notes, _ODD_CONFIG])))
    return Made(student, plan, Known(tuple(new_units(plan)), float32_inside=seen.float32))


_ODD_CONFIG = "the config of the student doesn't describe it: from_pretrained makes a network of other sizes"


def _config_fits(student: nn.Module) -> bool:
    """Whether a transformers model's config makes a model with its tensors; True for other networks."""
    if not is_pretrained(student):
        return True
    donor = Search(student).constructed({})
    return donor is not None and shapes(donor) == shapes(student)
