"""A teacher into a student that the user built: wider, deeper, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net.analysis import Analysis, analyze, analyze_examples
from net2net.apply import grow_state
from net2net.capture import (
    Example,
    Inputs,
    Methods,
    examples_of,
    require_module,
    require_teacher,
    unobserved,
)
from net2net.depth import DepthOptions
from net2net.errors import GrowthError, StudentMismatchError
from net2net.growth import Growth, known_of_width, proved, state_of
from net2net.operators._alive import learning, told
from net2net.operators._as_deep import as_deep
from net2net.operators._between import load_in_place, loaded, plan_of
from net2net.operators._calibrate import Calibration
from net2net.operators._made import Made
from net2net.operators._width_design import warn_of_twins
from net2net.plan import Plan
from net2net.student import changed_buffers, initial_values
from net2net.width import NoiseSpec, WidthOptions, with_scales


@unobserved
def transfer(
    teacher: nn.Module,
    student: nn.Module,
    example_inputs: Inputs,
    calibration: Calibration | None = None,
    *,
    how: str | None = None,
    shares: str = "uneven",
    noise: str | NoiseSpec | None = None,
    init: str = "identity",
    positions: Any = None,
    seed: int = 0,
    methods: Methods = (),
) -> Growth:
    """Set the weights of a bigger network that the user built, so that it computes what the teacher computes.

    Args:
        teacher: the trained network. It is not changed.
        student: a network of the same structure with larger sizes, more blocks in its lists of blocks, or more
            layers in its `nn.Sequential`s. Its weights are set, in place, once the result has been verified; until
            then it is not touched.
        example_inputs: inputs that both networks run on, or a list of several.
        calibration, init, positions: as for `deepen`.
        how, shares, noise, seed, methods: as for `widen`.

    Returns:
        The growth; `growth.student is student`.

    Raises:
        StudentMismatchError: the student is not the teacher's network at larger sizes.
        GrowthError: the sizes can't be reached exactly.

    Example:
        >>> import torch
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> student = torch.nn.Sequential(torch.nn.Linear(4, 11), torch.nn.ReLU(), torch.nn.Linear(11, 2))
        >>> transfer(teacher, student, torch.randn(3, 4)).verification.passed
        True
    """
    options, depth = WidthOptions(how, shares, noise, seed), DepthOptions(init, positions, seed=seed)
    require_module(student, "the student")
    require_teacher(teacher, example_inputs)
    examples = examples_of(example_inputs, methods, teacher)
    refusal: GrowthError | None = None
    for deeper in as_deep(teacher, student, examples, depth, calibration):
        try:
            return _wider(teacher, deeper, student, examples, options)
        except GrowthError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _wider(
    teacher: nn.Module, deeper: Made | None, student: nn.Module, inputs: tuple[Example, ...], options: WidthOptions
) -> Growth:
    """Set the student's weights from a teacher that is as deep as it is."""
    analysis = analyze(teacher if deeper is None else deeper.student, inputs)
    try:
        return _along(analysis, teacher, deeper, student, inputs, options)
    except StudentMismatchError:
        if all(example in inputs for example in analysis.examples):
            raise
    # In train mode a class may run other operations by the number of its layers (drop rates): the proof runs that mode.
    analysis = analyze_examples(analysis.sites.model, inputs)
    return _along(analysis, teacher, deeper, student, inputs, options)


def _along(
    analysis: Analysis,
    teacher: nn.Module,
    deeper: Made | None,
    student: nn.Module,
    inputs: tuple[Example, ...],
    options: WidthOptions,
) -> Growth:
    source = analysis.sites.model
    weights = state_of(source, analysis)

    def state_for(plan: Plan) -> dict[str, torch.Tensor]:
        initial = initial_values(student, options.seed) if plan.draws_initial else None
        state = grow_state(plan, weights, initial)
        for name in changed_buffers(source, {"": student}):  # its class computes them; weights make up
            del state[name]
        return state

    def grown(options: WidthOptions) -> Growth:
        plan = plan_of(source, analysis, student, None if deeper is None else deeper.plan, options)
        plan = with_scales(plan, analysis.sites.inference, weights)
        made = Made(student, plan, known_of_width(plan, analysis)).after(deeper)
        return proved(teacher, loaded(student, state_for(plan), made.plan), made.plan, inputs, made.known)

    growth = told(learning(grown(options), lambda _, other: grown(other), options, analysis))
    warn_of_twins(growth.plan, options)
    made = growth.student
    load_in_place(student, {**dict(made.named_parameters()), **dict(made.named_buffers())}, growth.plan)
    return replace(growth, student=student)
