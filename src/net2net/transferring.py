"""A teacher into a student that the user built: wider, deeper, or both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from net2net._alive import learning, told
from net2net._arguments import require_module, require_teacher
from net2net._as_deep import as_deep
from net2net._calibrate import Calibration
from net2net._combine import one_growth
from net2net._initialise import initial_values
from net2net._observers import unobserved
from net2net._scales import with_scales
from net2net._transfer import check_shapes, loaded, match_sizes
from net2net.apply import grow_state
from net2net.build import NewSizes, changed_buffers, compare
from net2net.capture import Example, Inputs, Methods, capture, examples_of, has_dynamic_positions, structural_copy
from net2net.dimensions import Analysis, analyze
from net2net.errors import GrowthError, SizeError
from net2net.growth import Growth, proved, state_of
from net2net.plan import NoiseSpec, Plan, WidthOptions, compensate, plan_width
from net2net.widening import eps_changes, warn_of_twins


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
    options = WidthOptions(how, shares, noise, seed)
    require_module(student, "the student")
    require_teacher(teacher, example_inputs)
    examples = examples_of(example_inputs, methods, teacher)
    keywords = {"calibration": calibration, "init": init, "positions": positions, "seed": seed}
    refusal: GrowthError | None = None
    for deeper in as_deep(teacher, student, examples, keywords):
        try:
            return _wider(teacher, deeper, student, examples, options)
        except GrowthError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal


def _wider(
    teacher: nn.Module, deeper: Growth | None, student: nn.Module, inputs: tuple[Example, ...], options: WidthOptions
) -> Growth:
    """Set the student's weights from a teacher that is as deep as it is."""
    source = teacher if deeper is None else deeper.student
    earlier = Plan({}, (), options.seed) if deeper is None else deeper.plan
    analysis = analyze(source, inputs)
    prepared = structural_copy(student)
    for path, values in earlier.attributes.items():
        for name, number in values.items():
            setattr(prepared.get_submodule(path), name, number)
    initial = initial_values(student, options.seed) if options.how == "random_pad" else None
    weights = state_of(source, analysis)

    def state_for(plan: Plan) -> dict[str, torch.Tensor]:
        state = grow_state(plan, weights, initial)
        for name in changed_buffers(source, {"": prepared}):  # its class computes them; weights make up
            del state[name]
        return state

    def made(options: WidthOptions) -> Growth:
        plan = plan_between(source, analysis, prepared, analysis.examples, options)
        check_shapes(plan, analysis, student)
        plan = with_scales(plan, analysis.sites.inference, weights)
        return proved(source, loaded(prepared, state_for(plan), plan), plan, analysis, inputs)

    growth = learning(made(options), lambda _, other: made(other), options, analysis)
    plan = growth.plan
    growth = told(growth if deeper is None else one_growth(teacher, deeper, growth, inputs))
    warn_of_twins(plan, options)
    attributes = {**earlier.attributes, **plan.attributes}
    loaded(student, state_for(plan), replace(plan, attributes=attributes), in_place=True)
    return replace(growth, student=student)


def _check_positions(teacher: nn.Module, student: nn.Module) -> None:
    """Frequencies that depend on the length do so beyond what the model was trained for, where no proof may look."""
    theirs: dict[str, Any] = dict(student.named_modules())
    for path, module in teacher.named_modules():
        before, after = (getattr(m, "original_max_seq_len", None) for m in (module, theirs.get(path)))
        if has_dynamic_positions(module) and before != after:
            raise SizeError(
                f"the frequencies of '{path}' depend on how long an input is, beyond {before} positions; with {after} "
                "instead it would compute something else. Leave max_position_embeddings as it is."
            )


def plan_between(
    teacher: nn.Module,
    analysis: Analysis,
    student: nn.Module,
    inputs: Inputs,
    options: WidthOptions,
    *,
    keep_eps: bool = False,
) -> Plan:
    """The plan that makes the student's weights from the teacher's; the student is as deep. No weight is read.

    Raises:
        StudentMismatchError, GrowthError: there is none.
    """
    _check_positions(teacher, student)
    graph = capture(student, inputs)
    after = match_sizes(analysis, graph)
    names = {atom: name for name, atom in analysis.atoms.items()}
    wanted = {names[a]: (a, s) for a, s in after.items()}
    plan = plan_width(analysis.sites, wanted, options, keep_eps=keep_eps)
    known = {(value, new) for value, new in eps_changes(teacher, plan)}
    buffers = changed_buffers(teacher, {"": student})
    constants = compare(NewSizes(analysis.sites, after), graph, known, buffers)
    return compensate(plan, analysis.sites, constants)
