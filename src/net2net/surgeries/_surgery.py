"""Surgery: a trained network goes on with other inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from net2net.analysis import Analysis, Request, with_notes
from net2net.apply import grow_state
from net2net.axes import Atom
from net2net.capture import Example, Inputs, Methods, examples_of, require_teacher, unobserved
from net2net.depth import Where
from net2net.errors import GrowthError, OptionError, StudentMismatchError
from net2net.growth import Growth, compiled_alike, known_of_units, proved, require_tensors, state_of
from net2net.operators import Made, WidthDesigner, grow, replays, told
from net2net.plan import Plan, check_seed
from net2net.student import NewSizes, Trial, fill, initial_values
from net2net.surgeries._change import Surgery
from net2net.surgeries._changed import Changed, changed_axes
from net2net.surgeries._constants import require_settled
from net2net.surgeries._design import Design, analysed, designed, interface_of, require_constants
from net2net.surgeries._features import Features as Features
from net2net.surgeries._ports import Wanted, Wish
from net2net.surgeries._starts import moved, outputs_on
from net2net.width import WidthOptions, compensate


@unobserved
def surgery(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    features: Wanted | None = None,
    outputs: Wanted | None = None,
    sizes: Request | None = None,
    where: Where | None = None,
    seed: int = 0,
    methods: Methods = (),
    **options: Any,
) -> Growth:
    """Give a trained network other inputs and outputs: on what it knew it computes what it computed.

    New features of an input have no effect at first, whatever they are; those that go are constants, which the biases
    behind them take over. Old entries of outputs stay as they are, new ones begin as asked for.

    Args:
        model: the teacher. It is not changed.
        example_inputs: of the teacher: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a
            list of several of these.
        features: for inputs, by their name in `forward` or their position, the `Features` before and after. Of an input
            that holds numbers of tokens the features are the tokens: rows of its embedding.
        outputs: the same for outputs, by their key or position; a network with one output calls it "output".
        sizes, where: as for `grow`: wider and deeper first, in one plan and one proof. Names are those of the teacher.
        seed: of every random draw.
        methods: as for `widen`.
        options: further ones of `grow`.

    Returns:
        The growth. `growth.plan` says what moves (new actions get a part of the probability), and
        `growth.student_inputs` are example inputs for the student.

    Raises:
        GrowthError: a name is unknown or stands twice, a size doesn't fit, a feature that goes is live, or something
            in the network holds the axis; the message names it and says what would work.

    Source: OpenAI et al. (2019), "Dota 2 with Large Scale Deep Reinforcement Learning", section 3.3 and appendix B;
        constants that go into biases are this library's.

    Example:
        >>> import torch, net2net
        >>> policy = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> growth = surgery(
        ...     policy, torch.randn(5, 2),
        ...     features={0: Features(["x", "v"], ["x", "angle", "v"])},
        ...     outputs={0: Features(["left", "right"], ["left", "right", "stay"], start="never")},
        ... )
        >>> growth.student[0].in_features, growth.student[2].out_features, growth.verification.passed
        (3, 3, True)
    """
    check_seed(seed)
    require_teacher(model, example_inputs)
    if not features and not outputs:
        raise OptionError("surgery() needs features= (of inputs), outputs=, or both; net2net.grow needs neither.")
    examples = examples_of(example_inputs, methods, model)
    earlier: Made | None = None
    if sizes is not None or where is not None:
        first = grow(model, example_inputs, sizes=sizes, where=where, seed=seed, methods=methods, **options)
        earlier = Made(first.student, first.plan, first.known)
    elif options:
        raise OptionError(f"{', '.join(options)} goes with sizes= or where= only.")
    made = _operated(model if earlier is None else earlier.student, examples, features or {}, outputs or {}, seed)
    made = made.after(earlier)
    return compiled_alike(told(proved(model, made.student, made.plan, examples, made.known)))


def _operated(model: nn.Module, examples: tuple[Example, ...], features: Wanted, outputs: Wanted, seed: int) -> Made:
    """What a surgery makes of a network, before its proof."""

    def made(design: Design) -> Made:
        plan = with_notes(design.plan, design.analysis)
        found = _made(plan, model, design.analysis, design.changed, design.wished)
        return _measured(found, model, examples)

    return designed(model, examples, features, outputs, seed, made, lambda: outputs_on(model, examples))


def _made(
    plan: Plan, model: nn.Module, analysis: Analysis, changed: Mapping[Atom, Changed], wished: list[Wish]
) -> Made:
    """The student of a plan, and what its proof has to know."""
    interface = interface_of(wished)
    sizes = NewSizes(analysis.sites, {atom: len(c.source) for atom, c in changed.items()})
    given = interface.examples(model, analysis.examples)
    trial = Trial(model, analysis.sites.inference.graph, analysis.examples, given)
    designer = WidthDesigner(model, analysis, WidthOptions(seed=plan.seed), trial)
    blueprint, constants = designer.first_fitting(plan, sizes)
    plan = replace(plan, changed={**plan.changed, **blueprint.changed(model)})
    plan = compensate(plan, analysis.sites, constants)
    state = state_of(model, analysis)
    require_settled(plan, state)
    require_tensors(plan, state)
    initial = initial_values(blueprint.model, plan.seed) if plan.draws_initial else None
    student = fill(model, blueprint, plan, sizes, grow_state(plan, state, initial))
    known = known_of_units(plan, analysis.sites.inference, {atom: (c.name, c.source) for atom, c in changed.items()})
    unread = {
        t.name for c in changed.values() if all(w.axis is None for w in c.wishes) for w in c.wishes for t in w.tables
    }
    units = tuple(some for some in known.units if some.tensor not in unread)  # no example has a token that is new
    return Made(student, plan, replace(known, units=units, interface=interface))


def _measured(made: Made, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """The same, with the probability that new logits get in the plan."""
    named = {port.name: port for port in made.known.interface.outputs}
    starts = [c.start or "" for c in made.plan.changes if isinstance(c, Surgery)]
    if not any(start.startswith(("never", "share")) for start in starts):
        return made
    given = outputs_on(made.student, made.known.interface.examples(model, examples))
    changes = []
    for change in made.plan.changes:
        assert isinstance(change, Surgery)
        if change.side == "output" and (change.start or "").startswith(("never", "share")):
            change = replace(change, moved=moved(named[change.name], given))
            if (change.start or "").startswith("never") and change.moved is not None and change.moved > 1e-3:
                raise OptionError(
                    f"new entries of the output '{change.name}' get {change.moved:.1%} of the probability: something "
                    "between the bias and the output raises them. Give start= a number, the bias that is low enough."
                )
        changes.append(change)
    return made._replace(plan=replace(made.plan, changes=tuple(changes)))


@replays("surgery")
def operated_along(plan: Plan, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What a plan of other inputs and outputs makes of another network with the same tensors, before its proof.

    Raises:
        StudentMismatchError: its tensors, inputs or outputs are others.
    """
    changes = [c for c in plan.changes if isinstance(c, Surgery)]
    features: Wanted = {c.name: c.features for c in changes if c.side == "input"}
    outputs: Wanted = {c.name: c.features for c in changes if c.side == "output"}
    try:
        analysis, wished = analysed(model, examples, features, outputs)
    except GrowthError as error:
        raise StudentMismatchError(
            f"the plan isn't one for {type(model).__name__}: {error} A plan is replayed on networks of the shapes that "
            "it was made for."
        ) from error
    require_constants(model, examples, wished)
    for later in (False, True):
        changed = changed_axes(analysis, wished, later)
        sizes = {name: value.shape for name, value in analysis.sites.inference.graph.state.items()}
        new = NewSizes(analysis.sites, {atom: len(c.source) for atom, c in changed.items()})
        state = analysis.sites.inference.graph.state
        if all(new.shape(state[name]) == t.shape for name, t in plan.tensors.items() if name in sizes):
            break
    return _made(plan, model, analysis, changed, wished)
