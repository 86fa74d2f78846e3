"""Net2DeeperNet: a network with more blocks or layers that computes the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

import net2net
from net2net._calibrate import Calibration, batches_of, statistics
from net2net._initialise import initial_values
from net2net.apply import grow_state
from net2net.build import Skeleton, draft_deeper
from net2net.build._deeper import PlaceError
from net2net.capture import Inputs, capture, in_pretrained, structural_copy
from net2net.depth import (
    INITS,
    PRESERVING,
    BlockEdit,
    Kernel,
    LayerEdit,
    LayerPlace,
    Positions,
    Stack,
    Wanted,
    Where,
    block_edit,
    find_layers,
    find_stacks,
    kernels_of,
    order,
    resolve_where,
)
from net2net.dimensions import Analysis, analyze
from net2net.errors import CouplingError, FixedDimensionError, GrowthError, OptionError, SizeError, StudentMismatchError
from net2net.growth import Growth, require_tensors, require_weights, state_of
from net2net.plan import Deepening, Plan
from net2net.plan._plan import Preservation
from net2net.verify import compare_models, require

Edit = BlockEdit | LayerEdit


@dataclass(frozen=True)
class DepthOptions:
    """How new blocks and layers are made, and where in a stack they go."""

    init: str = "identity"
    positions: Positions | None = None
    kernel: Kernel = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.init not in INITS:
            raise OptionError(f"init={self.init!r} is not known; use one of {', '.join(INITS)}.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**63:
            raise OptionError(f"seed={self.seed!r} is no seed; use an int from 0 to 2**63 - 1.")


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
) -> Growth:
    """Make a network deeper without changing what it computes (Net2DeeperNet, on any network).

    Blocks that add to a stream get further blocks that are the identity and can learn: copies of their neighbour with
    the last weights of every branch zero. Layers with an activation get identity layers.

    Args:
        model: the teacher, in any mode, dtype and on any device. It is not changed.
        where: a factor for every stack of blocks (2.0 or "2x"), or a dict from a stack, a block, a layer or a glob
            to the number of new ones (int), a factor, or a list of blocks after which new ones come.
            `analyze(model, inputs).places` lists the names.
        example_inputs: a tensor, a tuple of positional arguments or a dict of keyword arguments.
        calibration: batches of inputs like `example_inputs`, for the statistics of a new BatchNorm; by default
            `example_inputs` alone.
        init: "identity" (or "zero": blocks copy their neighbour), "zero-random" (blocks are freshly initialised), or,
            not function-preserving: "stack", "interleave", "middle", "overlap" and "random".
        positions: in a stack: "spread" (the default, where the class lets blocks be anywhere), "append",
            "before_last", a list of the blocks after which new ones come (-1: before the first), or a callable from
            the numbers of blocks and of new ones to such a list.
        kernel: of identity convolutions: a size, a tuple of sizes, or a list of tuples for a factorised pair such as
            [(1, 7), (7, 1)]; by default the layer's own.
        seed: of every random draw.

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
    require_weights(model)
    analysis = analyze(model, example_inputs)
    designer = _Designer(model, analysis, options, example_inputs, calibration)
    stacks = find_stacks(analysis.sites.inference, model)
    left_out: list[str] = []
    if init in PRESERVING and not isinstance(where, dict):  # stacks that can't be exact give way to others, or layers
        places = analysis.places
        left_out = [s.name for s in stacks if places[s.name].growth != "exact"]
        if any(place.growth == "exact" for place in places.values()):
            stacks = [s for s in stacks if s.name not in left_out]
    if not isinstance(where, dict):  # of stacks inside stacks the innermost
        stacks = [s for s in stacks if not any(b.holds(inner.container) for b in s.blocks for inner in stacks)]
    wanted = resolve_where(where, stacks, designer.layers)
    if not wanted:
        raise SizeError("nothing would grow: no place gets a new block or layer. Ask for more.")
    plan, skeleton = designer.of(wanted) if isinstance(where, dict) else designer.of_most(wanted)
    plan.left_out.update({name: analysis.places[name].reason for name in left_out})
    return _grown(model, plan, skeleton, analysis, example_inputs)


def deepen_along(plan: Plan, model: nn.Module, inputs: Inputs) -> Growth:
    """The growth in depth that a plan records, of another network with the same tensors.

    Raises:
        StudentMismatchError: its tensors are others.
        GrowthError: its class doesn't run with these layers.
    """
    require_weights(model)
    analysis = analyze(model, inputs)
    designer = _Designer(model, analysis, DepthOptions(seed=plan.seed), inputs, None)
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
    return _grown(model, plan, skeleton, analysis, inputs)


@dataclass(frozen=True)
class _Designer:
    """Finds a plan and a student that runs, before any weight is moved."""

    model: nn.Module
    analysis: Analysis
    options: DepthOptions
    inputs: Inputs
    calibration: Calibration | None

    @property
    def layers(self) -> list[LayerPlace]:
        return find_layers(self.analysis.sites.inference, self.model)

    @property
    def _unread(self) -> list[str]:
        return [name for name, value in self.analysis.sites.inference.graph.state.items() if not value.consumers]

    def of(self, wanted: Sequence[Wanted]) -> tuple[Plan, Skeleton]:
        """The plan and a student without weights for exactly these places.

        Raises:
            GrowthError: there is none.
        """
        try:
            return self._design(wanted)
        except PlaceError:
            if self.options.positions is not None or self.options.init not in PRESERVING:
                raise
            return replace(self, options=replace(self.options, positions="append"))._design(wanted)

    def _design(self, wanted: Sequence[Wanted]) -> tuple[Plan, Skeleton]:
        batches = batches_of(self.calibration, self.inputs)
        normed = [w.place for w in wanted if isinstance(w.place, LayerPlace) and w.place.norm and w.place.kind]
        found = statistics(self.model, batches, normed) if normed else {}
        edits: list[Edit] = []
        notes = []
        for one in wanted:
            if isinstance(one.place, Stack):
                edits.append(self._blocks(one, one.place))
                continue
            edit = self._layers(one, one.place)
            known = found.get(one.place.name)
            if known is not None:
                edit = LayerEdit(edit.place, edit.kernels, known.mean, known.variance)
                notes.append(f"the statistics after '{edit.place.name}' are those of {len(batches)} batch(es)")
                if known.dead:
                    notes.append(f"channels {list(known.dead)} after '{edit.place.name}' are dead: variance floored")
            edits.append(edit)
        skeleton = self.first_running(edits)
        preserves: Preservation = "exact" if self.options.init in PRESERVING else "none"
        plan = Plan(
            skeleton.tensors,
            (),
            self.options.seed,
            preserves,
            skeleton.attributes,
            deepenings=tuple(e.deepening for e in edits),
            removed=skeleton.removed,
            notes=tuple(notes),
            version=net2net.__version__,
        )
        return plan, skeleton

    def of_most(self, wanted: Sequence[Wanted]) -> tuple[Plan, Skeleton]:
        """The design for all of these places, or for as many as can grow together; the plan names the others."""
        left_out: dict[str, str] = {}
        possible = []
        for one in wanted:
            try:
                if isinstance(one.place, Stack):
                    self._blocks(one, one.place)
                possible.append(one)
            except GrowthError as error:
                left_out[one.place.name] = str(error)
        if not possible:
            raise FixedDimensionError("; ".join(left_out.values()))
        try:
            plan, skeleton = self.of(possible)
        except GrowthError as error:
            plan, skeleton, together = self._one_by_one(possible, error)
            left_out.update({w.place.name: str(error) for w in possible if w not in together})
        plan.left_out.update(left_out)
        return plan, skeleton

    def _one_by_one(self, wanted: Sequence[Wanted], refusal: GrowthError) -> tuple[Plan, Skeleton, list[Wanted]]:
        """The design for those places that go together, taken in their order."""
        together: list[Wanted] = []
        found: tuple[Plan, Skeleton] | None = None
        for one in wanted:
            try:
                found = self.of([*together, one])
                together.append(one)
            except GrowthError:
                continue
        if found is None:
            raise refusal
        return *found, together

    def again(self, deepening: Deepening) -> Edit:
        """The edit that a plan records; what new tensors start as is the plan's, not this one's."""
        if deepening.kind == "blocks":
            stack = next(
                (s for s in find_stacks(self.analysis.sites.inference, self.model) if s.name == deepening.place), None
            )
            if stack is not None and len(stack) == deepening.before:
                order = tuple(zip(deepening.sources, deepening.new, strict=True))
                return block_edit(self.analysis.sites.inference, stack, order, deepening.init, self._fixed_eps(stack))
        else:
            place = next((p for p in self.layers if p.name == deepening.place and p.kind is not None), None)
            if place is not None:
                return LayerEdit(place, deepening.kernels, np.zeros(place.channels), np.ones(place.channels))
        raise StudentMismatchError(
            f"the plan deepens '{deepening.place}', and this {type(self.model).__name__} has no such place for it. A "
            "plan is replayed on networks of the class and the shapes that it was made for."
        )

    def _fixed_eps(self, stack: Stack) -> bool:
        return in_pretrained(self.model, stack.blocks[0].path)

    def _blocks(self, wanted: Wanted, stack: Stack) -> BlockEdit:
        positions = wanted.positions or self.options.positions or "spread"
        found = order(len(stack), wanted.count, self.options.init, positions, stack.name)
        return block_edit(self.analysis.sites.inference, stack, found, self.options.init, self._fixed_eps(stack))

    def _layers(self, wanted: Wanted, place: LayerPlace) -> LayerEdit:
        if place.kind is None:
            raise FixedDimensionError(
                f"'{place.name}' can't be followed by an identity layer: {place.reason}. What works: a layer before "
                "another activation, or a further block where blocks add to a stream (analysis.places lists both)."
            )
        if self.options.init not in PRESERVING:
            raise OptionError(f"init={self.options.init!r} is for blocks that repeat; '{place.name}' is a layer.")
        kernels: list[tuple[int, ...] | None] = [None]
        if not isinstance(place.layer, nn.Linear):
            kernels = list(kernels_of(place.layer, self.options.kernel))
            for kernel in kernels:
                if kernel is not None and (len(kernel) != place.axes or not all(map(_has_centre, kernel))):
                    raise OptionError(f"kernel={kernel} doesn't suit '{place.name}': use odd sizes, one for each axis.")
            if not kernels:
                raise OptionError(f"kernel=[] names no kernel for '{place.name}'.")
        return LayerEdit(place, tuple(kernels) * wanted.count)

    def first_running(self, edits: Sequence[Edit]) -> Skeleton:
        """The first draft that runs and reads every tensor that is new."""
        reasons = []
        for skeleton in draft_deeper(self.model, edits, self._unread):
            try:
                graph = capture(structural_copy(skeleton.model, _on_meta), self.inputs)
            except GrowthError as error:
                reasons.append(str(error).splitlines()[0])
                continue
            teacher = self.analysis.sites.inference.graph.state
            unread = [
                name
                for name, tensor in ((n, skeleton.tensors[n]) for n in skeleton.new)
                if (tensor.source not in teacher or teacher[tensor.source].consumers)
                and not (name in graph.state and graph.state[name].consumers)
                and name not in graph.ties
                and not name.endswith("num_batches_tracked")
            ]
            if not unread:
                return skeleton
            reasons.append(f"its forward doesn't read '{unread[0]}'")
        places = ", ".join(f"'{e.deepening.place}'" for e in edits)
        raise CouplingError(
            f"{type(self.model).__name__} doesn't run with more at {places}: {reasons[0] if reasons else 'no draft'}. "
            "The number of its blocks is written into its forward. Build the bigger model yourself and use "
            "net2net.transfer."
        )


def _has_centre(size: object) -> bool:
    return isinstance(size, int) and size > 0 and size % 2 == 1


def _on_meta(_: str, tensor: torch.Tensor) -> torch.Tensor:
    new = torch.empty_like(tensor, device="meta", requires_grad=False)
    return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new


def _grown(model: nn.Module, plan: Plan, skeleton: Skeleton, analysis: Analysis, inputs: Inputs) -> Growth:
    draws = any(tensor.fill == "initial" for tensor in plan.tensors.values())
    initial = initial_values(skeleton.model, plan.seed) if draws else None
    state = grow_state(plan, state_of(model, analysis), initial)

    def real(name: str, tensor: torch.Tensor) -> torch.Tensor:
        new = state[name]
        return nn.Parameter(new, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else new

    student = structural_copy(skeleton.model, real)
    verification = compare_models(
        model,
        student,
        inputs,
        preserves=plan.preserves,
        float32_inside=analysis.sites.inference.graph.casts_to_float32,
        moved=skeleton.moved,
        new_entries=dict.fromkeys(skeleton.new),
        approximate=_approximate(plan),
    )
    require(verification)
    return Growth(student, plan, verification, model, inputs)


def _approximate(plan: Plan) -> tuple[str, ...]:
    """The modes in which a plan is close, not exact: train mode with a BatchNorm that is new."""
    new = any(name.endswith("running_mean") and t.fill == "values" for name, t in plan.tensors.items())
    return ("train",) if new else ()
