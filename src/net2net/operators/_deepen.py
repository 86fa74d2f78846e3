"""Net2DeeperNet: a network with more blocks or layers that computes the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import nn

from net2net.analysis import Analysis, analyze, analyze_examples, unread_parts, with_notes
from net2net.apply import grow_state
from net2net.capture import (
    Example,
    Inputs,
    Methods,
    examples_of,
    require_request,
    require_teacher,
    structural_copy,
    unobserved,
)
from net2net.depth import PRESERVING, DepthOptions, Kernel, Positions, Stack, Where, find_stacks, resolve_where
from net2net.errors import SizeError, StudentMismatchError
from net2net.growth import Growth, compiled_alike, known_of_depth, noted, proved, require_tensors, state_of
from net2net.operators._alive import told
from net2net.operators._calibrate import Calibration
from net2net.operators._depth_design import DepthDesigner
from net2net.operators._hanging import not_carried, warn_of_optimizers
from net2net.operators._made import Made, replays
from net2net.operators._room import require_room_for_copies
from net2net.plan import Plan
from net2net.student import Skeleton, initial_values


@unobserved
def deepen(
    model: nn.Module,
    where: Where,
    example_inputs: Inputs,
    calibration: Calibration | None = None,
    *,
    init: str = "identity",
    positions: Positions | None = None,
    kernel: Kernel = None,
    seed: int = 0,
    methods: Methods = (),
) -> Growth:
    """Make a network deeper without changing what it computes (Net2DeeperNet, on any network).

    Blocks that add to a stream get further blocks that are the identity and can learn: copies of their neighbour with
    the last weights of every branch zero. Layers with an activation get identity layers.

    Args:
        model: the teacher, in any mode, dtype and on any device. It is not changed.
        where: a factor for every stack of blocks (2.0 or "2x"), or a dict from a stack, a block, a layer or a glob
            to the number of new ones (int), a factor, or a list of blocks after which new ones come.
            `analyze(model, inputs).places` lists the names.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments; or a list of several
            of these: places are those of the first one, the proof runs them all.
        calibration: batches of inputs like `example_inputs`, for the statistics of a new BatchNorm; by default
            `example_inputs` alone.
        init: "identity" (or "zero": blocks copy their neighbour), "zero-random" (blocks are freshly initialised), or,
            not function-preserving: "stack", "interleave", "middle", "overlap" and "random".
        positions: in a stack: "spread" (the default, where the class lets blocks be anywhere; whole periods of blocks
            that differ, as mixtures and dense ones in turn do), "append", "before_last", a list of the blocks after
            which new ones come (-1: before the first), or a callable from the numbers of blocks and of new ones to such
            a list.
        kernel: of identity convolutions: a size, a tuple of sizes, or a list of tuples for a factorised pair such as
            [(1, 7), (7, 1)]; by default the layer's own.
        seed: of every random draw.
        methods: methods beside `forward` that are proved too, as for `analyze`.

    Returns:
        The growth: `.student` (the teacher's class), `.plan`, `.verification`. With a new BatchNorm eval mode is
        exact, and train mode as close as the batch is to the calibration batches.

    Raises:
        GrowthError: the request can't be met exactly; the message names the place, the operation and what works.

    Source: Chen et al. (2016), section 2.3 (identity layers); mirrored pairs for activations whose odd part is linear;
        zero-initialised residual blocks as in LLaMA Pro; the other orders from G_stack, bert2BERT, MIDAS and SOLAR.

    Example:
        >>> teacher = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> growth = deepen(teacher, {"0": 1}, torch.randn(3, 4))
        >>> len(growth.student), growth.verification.max_relative_error <= 1e-10
        (5, True)
    """
    options = DepthOptions(init, positions, kernel, seed)
    require_teacher(model, example_inputs)
    examples = examples_of(example_inputs, methods, model)
    require_request(where, "where")
    analysis = analyze_examples(model, examples[:1])
    made = deeper(analysis, where, examples, options, calibration)
    growth = told(proved(model, made.student, made.plan, examples, made.known))
    growth = replace(growth, plan=with_notes(growth.plan, _in_all_modes(analysis, examples)))
    warn_of_optimizers(model)
    return noted(compiled_alike(growth), *not_carried(model, made.plan))


def _in_all_modes(analysis: Analysis, examples: tuple[Example, ...]) -> Analysis:
    """The analysis, which is of the first example in eval mode; of every example and mode if it leaves something
    unread."""
    model = analysis.sites.model
    return analyze(model, examples) if unread_parts(analysis) else analysis


def deeper(
    analysis: Analysis,
    where: Where,
    examples: tuple[Example, ...],
    options: DepthOptions,
    calibration: Calibration | None = None,
    like: nn.Module | None = None,
) -> Made:
    """What `deepen` makes of a teacher, before its proof. The analysis is of the first example.

    `like` is a student that the user built: it is as deep, and may be wider.

    Raises:
        GrowthError: as for `deepen`.
    """
    model = analysis.sites.model
    designer = DepthDesigner(model, analysis, options, examples, calibration, like)
    stacks = find_stacks(analysis.sites.inference, model)
    left_out: dict[str, str] = {}
    layers = designer.layers
    if options.init in PRESERVING and not isinstance(
        where, Mapping
    ):  # stacks that can't be exact give way to others, or layers
        places = analysis.places
        left_out = {s.name: places[s.name].reason for s in stacks if places[s.name].growth != "exact"}
        if any(place.growth == "exact" for place in places.values()):
            stacks = [s for s in stacks if s.name not in left_out]
    if not isinstance(where, Mapping):  # of stacks inside stacks the innermost
        stacks = [s for s in stacks if not any(b.holds(inner.container) for b in s.blocks for inner in stacks)]
        left_out |= {p.name: p.reason for p in layers if p.kind is None and not stacks}
    wanted = resolve_where(where, stacks, layers)
    if not wanted:
        raise SizeError("nothing would grow: no place gets a new block or layer. Ask for more.")
    for one in wanted:
        copied = one.place.blocks[0].path if isinstance(one.place, Stack) else one.place.name
        require_room_for_copies(model, copied, one.count)
    plan, skeleton = designer.of(wanted) if isinstance(where, Mapping) else designer.of_most(wanted)
    plan = replace(plan, left_out={**plan.left_out, **left_out})
    return _made(model, plan, skeleton, analysis)


@replays("deepening")
def deeper_along(plan: Plan, model: nn.Module, examples: tuple[Example, ...]) -> Made:
    """What a plan in depth makes of another network with the same tensors, before its proof.

    Raises:
        StudentMismatchError: its tensors are others.
        GrowthError: its class doesn't run with these layers.
    """
    analysis = analyze_examples(model, examples[:1])
    designer = DepthDesigner(model, analysis, DepthOptions(seed=plan.seed), examples, None)
    skeleton = designer.first_running([designer.again(d) for d in plan.deepenings])
    require_tensors(plan, state_of(model, analysis))
    shapes, asked = ({n: t.shape for n, t in tensors.items()} for tensors in (skeleton.tensors, plan.tensors))
    odd = next((n for n in sorted(shapes.keys() | asked.keys()) if shapes.get(n) != asked.get(n)), None)
    if odd is not None:
        raise StudentMismatchError(
            f"the plan makes '{odd}' {asked.get(odd, 'in no place')}; in a deeper {type(model).__name__} it is "
            f"{shapes.get(odd, 'in no place')}. A plan is replayed on networks of the class and the shapes that it was "
            "made for."
        )
    return _made(model, plan, skeleton, analysis)


def _made(model: nn.Module, plan: Plan, skeleton: Skeleton, analysis: Analysis) -> Made:
    initial = initial_values(skeleton.model, plan.seed) if plan.draws_initial else None
    state = grow_state(plan, state_of(model, analysis), initial)

    def real(name: str, tensor: torch.Tensor) -> torch.Tensor:
        new = state[name]
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    known = known_of_depth(plan, analysis, frozenset(skeleton.new), skeleton.moved)
    return Made(structural_copy(skeleton.model, real), plan, known)
