"""A plan, from memory or from disk, carried out on another network."""

from __future__ import annotations

from torch import nn

from net2net.capture import Example, Inputs, Methods, examples_of, require_teacher, unobserved
from net2net.errors import require_kind
from net2net.growth import Growth, compiled_alike, proved
from net2net.operators._alive import told
from net2net.operators._made import Made, replaying
from net2net.plan import Plan


@unobserved
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
    plan.require_replayable()
    require_teacher(teacher, example_inputs)
    examples = examples_of(example_inputs, methods, teacher)
    made = carried_along(plan, teacher, examples)
    return compiled_alike(told(proved(teacher, made.student, made.plan, examples, made.known)))


def carried_along(plan: Plan, teacher: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What the steps of a plan make of a network, before its proof.

    Raises:
        GrowthError: as for `replay`.
    """
    made: Made | None = None
    for step in plan.steps:
        model = teacher if made is None else made.student
        given = examples if made is None else made.known.interface.examples(teacher, examples)
        made = replaying(step)(step, model, given).after(made)
    assert made is not None
    return made
