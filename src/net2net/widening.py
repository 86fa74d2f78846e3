"""Net2WiderNet: a network with bigger dimensions that computes the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from torch import nn

from net2net._alive import learning, told
from net2net._arguments import require_request, require_teacher
from net2net._hanging import not_carried, warn_of_optimizers
from net2net._initialise import initial_values
from net2net._largest import largest
from net2net._left_out import fixed_ones
from net2net._observers import unobserved
from net2net._partners import partners
from net2net._room import require_room
from net2net._scales import with_scales
from net2net._unread import apart_from_unread, with_notes
from net2net.apply import grow_state
from net2net.build import (
    Blueprint,
    ChangedNumber,
    EpsError,
    Fit,
    Mismatch,
    NewSizes,
    Setting,
    Trial,
    Verdict,
    compare,
    draft,
    fill,
    numbers_in,
    pretrained_in,
    settings_of,
)
from net2net.capture import Inputs, Methods, Stopped, capture
from net2net.dimensions import Analysis, analyze
from net2net.errors import CouplingError, GrowthError, Net2NetWarning, SizeError, StudentMismatchError
from net2net.growth import Growth, compiled_alike, proved, require_tensors, state_of
from net2net.plan import Constant, NoiseSpec, Plan, WidthOptions, check_growth, compensate, plan_width, resize_unread
from net2net.request import Request, meant_by, resolve_request


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
            outgoing weights are shared out), "pair" (random pairs with opposite outgoing weights) or "random_pad"
            (the baseline: not function-preserving). By default "zero_out" where the dimension allows it, else "split".
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
    analysis = analyze(model, example_inputs, methods=methods)
    every = not isinstance(sizes, Mapping)
    sizes_by_name, shared = apart_from_unread(analysis, resolve_request(analysis, sizes), unread, every)
    require_room(analysis, sizes_by_name)

    weights = state_of(model, analysis)

    def made(design: Design) -> Growth:
        plan, blueprint, new_sizes = design
        initial = initial_values(blueprint.model, seed) if how == "random_pad" else None
        plan = with_scales(plan, analysis.sites.inference, weights)
        student = fill(model, blueprint, plan, new_sizes, grow_state(plan, weights, initial))
        return proved(model, student, plan, analysis, analysis.examples)

    def again(sizes: Mapping[str, int], options: WidthOptions) -> Growth:
        return made(_Designer(model, analysis, options, analysis.examples).of(dict(sizes)))

    designer = _Designer(model, analysis, options, analysis.examples)
    growth = made(designer.of_most(sizes_by_name) if every else designer.of_named(sizes_by_name))
    growth = told(learning(growth, again, options, analysis, every))
    left_out = {**growth.plan.left_out, **shared, **fixed_ones(analysis, growth.plan, meant_by(analysis, sizes))}
    plan = with_notes(replace(growth.plan, left_out=left_out), analysis)
    plan = replace(plan, notes=(*plan.notes, *not_carried(model, plan)))
    warn_of_optimizers(model)
    growth = compiled_alike(replace(growth, plan=plan))
    warn_of_twins(growth.plan, options)
    return growth


def widen_along(plan: Plan, model: nn.Module, inputs: Inputs, methods: Methods = ()) -> Growth:
    """The growth in width that a plan records, of another network with the same tensors.

    Raises:
        StudentMismatchError: its tensors are others.
        GrowthError: its class doesn't run at these sizes.
    """
    require_teacher(model, inputs)
    analysis = analyze(model, inputs, methods=methods)
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
    designer = _Designer(model, analysis, WidthOptions(seed=plan.seed), analysis.examples)
    blueprint, _ = designer.first_fitting(plan, sizes)
    initial = initial_values(blueprint.model, plan.seed) if plan.preserves == "none" else None
    student = fill(model, blueprint, plan, sizes, grow_state(plan, state, initial))
    return compiled_alike(told(proved(model, student, plan, analysis, analysis.examples)))


Design = tuple[Plan, Blueprint, NewSizes]


@dataclass(frozen=True)
class _Designer:
    """Finds a plan, and a student of the teacher's class that runs at its sizes, before any weight is moved."""

    model: nn.Module
    analysis: Analysis
    options: WidthOptions
    inputs: Inputs

    @cached_property
    def trial(self) -> Trial:
        return Trial(self.model, self.analysis.sites.inference.graph, self.inputs)

    def of(self, sizes: dict[str, int]) -> Design:
        """The design for exactly these sizes.

        Raises:
            GrowthError: there is none.
        """
        try:
            return self._design(sizes, keep_eps=False)
        except EpsError:
            if self.options.how is not None:
                raise
            return self._design(sizes, keep_eps=True)

    def _design(self, sizes: dict[str, int], keep_eps: bool) -> Design:
        wanted = {name: (self.analysis.atoms[name], size) for name, size in sizes.items()}
        plan = plan_width(self.analysis.sites, wanted, self.options, keep_eps=keep_eps)
        if not plan.widenings:
            raise SizeError("nothing would grow: every size asked for is the size that is there. Ask for more.")
        new_sizes = NewSizes(self.analysis.sites, dict(wanted.values()))
        blueprint, constants = self.first_fitting(plan, new_sizes)
        plan = replace(plan, changed={**plan.changed, **blueprint.changed(self.model)})
        plan = resize_unread(plan, blueprint.resized, self.analysis.sites)
        return compensate(plan, self.analysis.sites, constants), blueprint, new_sizes

    def of_named(self, sizes: dict[str, int]) -> Design:
        """The design for exactly these sizes; a refusal says what else has to grow."""
        try:
            return self.of(sizes)
        except CouplingError as error:
            more = partners(sizes, self.analysis, self._works)
            if not more:
                raise
            names = ", ".join(f"'{name}'" for name in more)
            raise CouplingError(f"{error} With {names} it works: ask for {sizes | more}.") from None

    def _works(self, sizes: dict[str, int]) -> bool:
        try:
            self.of(sizes)
        except GrowthError:
            return False
        return True

    def of_most(self, sizes: dict[str, int]) -> Design:
        """The design for all of these sizes, or for as many as the teacher's classes let grow together.

        A class may tie a dimension to one that is fixed (the residual stream to the heads, where a position encoding
        fixes those). The plan says what is left out, and why.
        """
        left_out: dict[str, str] = {}
        for name, size in sizes.items():
            try:
                check_growth(self.analysis.sites, name, self.analysis.atoms[name], size, self.options)
            except GrowthError as error:
                left_out[name] = str(error)
        possible = {name: size for name, size in sizes.items() if name not in left_out}
        if not possible:
            raise SizeError("; ".join(left_out.values()))
        names = sorted(possible, key=self._entries, reverse=True)
        (plan, blueprint, new_sizes), others = largest(names, lambda some: self.of({n: possible[n] for n in some}))
        return replace(plan, left_out=left_out | others), blueprint, new_sizes

    def _entries(self, name: str) -> int:
        """How many entries the tensors have that a dimension runs through."""
        state = self.analysis.sites.inference.graph.state
        return sum(math.prod(state[tensor].shape) for tensor in self.analysis.dimensions[name].tensors)

    def first_fitting(self, plan: Plan, sizes: NewSizes) -> tuple[Blueprint, list[Constant]]:
        """The first draft of the student that runs the teacher's operations at the sizes of the plan."""
        reasons: list[str] = []
        advice = ""
        numbers = numbers_in(self.model, sizes, dict(pretrained_in(self.model)))
        start = settings_of(plan.changed, numbers)
        for blueprint in draft(self.model, plan, sizes):
            fitting = _Fitting(self.model, self.inputs, plan, sizes, blueprint, self.trial)
            try:
                fitted = blueprint.having(Fit(numbers, fitting.judge).find(start))
                return fitted, fitting.constants(fitted)
            except GrowthError as error:
                if isinstance(error, ChangedNumber):
                    raise CouplingError(f"{type(self.model).__name__} can't grow {_grown(plan)}: {error}.") from None
                reasons.append(str(error).splitlines()[0])
                if isinstance(error, Mismatch):
                    advice = "A size is computed from another one, or written into its forward. "
        reason = reasons[0] if reasons else "no draft"
        raise CouplingError(
            f"{type(self.model).__name__} doesn't run at these sizes ({_grown(plan)}): {reason}. "
            f"{advice}Grow the dimensions that it ties together by the same factor, or build the bigger model yourself "
            "and use net2net.transfer."
        )


def _grown(plan: Plan) -> str:
    return ", ".join(f"'{w.dimension}' {w.before} -> {w.after}" for w in plan.widenings)


@dataclass(frozen=True)
class _Fitting:
    """Judges drafts of a student by what they run: as recorded, or as exported where a recording says nothing."""

    model: nn.Module
    inputs: Inputs
    plan: Plan
    sizes: NewSizes
    blueprint: Blueprint
    trial: Trial

    def judge(self, settings: tuple[Setting, ...]) -> Verdict:
        """How far the draft with some numbers set anew comes."""
        try:
            self.constants(self.blueprint.having(settings))
        except Stopped as stop:
            error = (Mismatch if stop.about_sizes else CouplingError)(str(stop))
            return Verdict((0, stop.steps), (stop.module,), error)
        except Mismatch as error:
            return Verdict((1, error.index), error.modules, error, ran=True)
        except GrowthError as error:
            return Verdict((1, -1), (), error, ran=True)
        return Verdict((2, 0), ran=True)

    def constants(self, drafted: Blueprint) -> list[Constant]:
        """The constants of a draft that differ from the teacher's.

        Raises:
            Stopped: its forward doesn't run.
            GrowthError: it doesn't compute what the plan expects.
        """
        known = set(eps_changes(self.model, self.plan))
        graph = self.trial.recorded(drafted.model) or capture(drafted.model, self.inputs)
        return compare(self.sizes, graph, known, self.blueprint.buffers)


def warn_of_twins(plan: Plan, options: WidthOptions) -> None:
    copies = [w.dimension for w in plan.widenings if w.how == "split"]
    if copies and options.shares == "even" and options.noise is None:
        warnings.warn(
            f"copies with even shares and no noise stay twins in training unless dropout separates them: {copies[:3]}. "
            "Use shares='uneven' or noise='zero_sum', which are exact too.",
            Net2NetWarning,
            stacklevel=3,
        )


def eps_changes(model: nn.Module, plan: Plan) -> Iterator[tuple[float, float]]:
    for path, attributes in plan.attributes.items():
        for name, new in attributes.items():
            old = getattr(model.get_submodule(path), name)
            yield (old if old is not None else new, new)
