"""Net2WiderNet: a network with bigger dimensions that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from net2net.analysis import Request, analyze, apart_from_unread, meant_by, resolve_request, with_notes
from net2net.apply import grow_state
from net2net.capture import Example, Inputs, Methods, require_request, require_teacher, unobserved
from net2net.errors import StudentMismatchError
from net2net.growth import Growth, compiled_alike, known_of_width, noted, proved, require_tensors, state_of
from net2net.operators._alive import learning, told
from net2net.operators._hanging import not_carried, warn_of_optimizers
from net2net.operators._left_out import fixed_ones
from net2net.operators._made import Made, replays
from net2net.operators._room import require_room
from net2net.operators._width_design import Design, WidthDesigner, warn_of_twins
from net2net.plan import Plan
from net2net.student import NewSizes, Trial, fill, initial_values
from net2net.width import NoiseSpec, WidthOptions, with_scales


@unobserved
def widen(
    model: nn.Module,
    sizes: Request,
    example_inputs: Inputs,
    *,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    seed: int = 0,
    methods: Methods = (),
    unread: str = "refuse",
) -> Growth:
    """Make a network wider without changing what it computes (Net2WiderNet, on any network).

    Args:
        model: the teacher, in any mode, dtype and on any device. It is not changed.
        sizes: a factor for every dimension that can grow (2.0 or "2x"), or a dict from a dimension's name, a
            module's path (its output width) or a glob of either to a size (int), a factor (float) or "2x".
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a list of several
            of these: every branch that one of them runs grows, and is proved.
        how: "zero_out" (new units random on the way in, zero on the way out), "split" (copies of units whose
            outgoing weights are shared out), "pair" (random pairs with opposite outgoing weights), "zero_in"
            (zeros on the way in instead), "all_zero" (zeros on both, for comparison: such units are dead),
            "random_pad" (the baseline: not function-preserving), or a way of your own (`net2net.register_how`). By
            default "zero_out" where the dimension allows it, else "split".
        shares: of the copies of a unit: "uneven" (1 : 2 : ...; copies are no twins) or "even".
        noise: None, "zero_sum" (exact), "paper" (approximate) or a `NoiseSpec`.
        seed: of every random draw.
        methods: as for `analyze`: methods beside `forward` that are captured and proved too.
        unread: "refuse" a growth that parameters which no example reads seem to share, or "keep" those as they are.

    Returns:
        The growth: `.student` (the teacher's class), `.plan`, `.verification`.

    Raises:
        GrowthError: the request can't be met exactly; the message names the dimension, the operation and what works.

    Source: Chen et al. (2016), section 2.2 (split); growth on normalised streams as in LEMON and HyperCloning.

    Example:
        >>> import torch
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> growth = widen(teacher, {"0": 12}, torch.randn(3, 4))
        >>> growth.student[0], growth.verification.passed
        (Linear(in_features=4, out_features=12, bias=True), True)
    """
    options = WidthOptions(how, shares, noise, seed)
    require_teacher(model, example_inputs)
    require_request(sizes, "sizes")
    return wider(model, sizes, example_inputs, options, methods, unread)


def wider(
    teacher: nn.Module,
    sizes: Request,
    example_inputs: Inputs,
    options: WidthOptions,
    methods: Methods = (),
    unread: str = "refuse",
    deeper: Made | None = None,
) -> Growth:
    """The growth of `widen`; or, of a teacher that has been made deeper, the growth in both, proved as one.

    Raises:
        GrowthError: as for `widen`.
    """
    model = teacher if deeper is None else deeper.student
    analysis = analyze(model, example_inputs, methods=methods)
    every = not isinstance(sizes, Mapping)
    sizes_by_name, shared = apart_from_unread(analysis, resolve_request(analysis, sizes), unread, every)
    require_room(analysis, sizes_by_name)
    weights = state_of(model, analysis)

    def grown(design: Design) -> Growth:
        plan, blueprint, new_sizes = design
        initial = initial_values(blueprint.model, options.seed) if plan.draws_initial else None
        plan = with_scales(plan, analysis.sites.inference, weights)
        student = fill(model, blueprint, plan, new_sizes, grow_state(plan, weights, initial))
        made = Made(student, plan, known_of_width(plan, analysis)).after(deeper)
        return proved(teacher, student, made.plan, analysis.examples, made.known)

    def again(sizes: Mapping[str, int], options: WidthOptions) -> Growth:
        return grown(replace(designer, options=options).of(dict(sizes)))

    trial = Trial(model, analysis.sites.inference.graph, analysis.examples)
    designer = WidthDesigner(model, analysis, options, trial)
    growth = grown(designer.of_most(sizes_by_name) if every else designer.of_named(sizes_by_name))
    growth = told(learning(growth, again, options, analysis, every))
    left_out = {**growth.plan.left_out, **shared, **fixed_ones(analysis, growth.plan, meant_by(analysis, sizes))}
    plan = with_notes(replace(growth.plan, left_out=left_out), analysis)
    warn_of_optimizers(teacher)
    growth = compiled_alike(noted(replace(growth, plan=plan), *not_carried(model, plan)))
    warn_of_twins(growth.plan, options)
    return growth


@replays("widening")
def wider_along(plan: Plan, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What a plan in width makes of another network with the same tensors, before its proof.

    Raises:
        StudentMismatchError: its tensors are others.
        GrowthError: its class doesn't run at these sizes.
    """
    analysis = analyze(model, examples)
    for w in plan.widenings:
        atom = analysis.atoms.get(w.dimension)
        if atom is None or atom.size != w.before:
            found = "has no such dimension" if atom is None else f"has {atom.size}"
            raise StudentMismatchError(
                f"the plan makes '{w.dimension}' {w.before} -> {w.after}, and {type(model).__name__} {found}. A plan "
                "is replayed on networks of the shapes that it was made for; grow this one by itself."
            )
    state = state_of(model, analysis)
    require_tensors(plan, state)
    sizes = NewSizes(analysis.sites, {analysis.atoms[w.dimension]: w.after for w in plan.widenings})
    trial = Trial(model, analysis.sites.inference.graph, analysis.examples)
    designer = WidthDesigner(model, analysis, WidthOptions(seed=plan.seed), trial)
    blueprint, _ = designer.first_fitting(plan, sizes)
    initial = initial_values(blueprint.model, plan.seed) if plan.draws_initial else None
    student = fill(model, blueprint, plan, sizes, grow_state(plan, state, initial))
    return Made(student, plan, known_of_width(plan, analysis))
