"""A request for width -> a plan and a student that runs, before any weight is moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from torch import nn

from net2net.analysis import Analysis
from net2net.capture import Graph, Inputs, Stopped, capture, record
from net2net.errors import CaptureError, CouplingError, GrowthError, SizeError, warn
from net2net.operators._largest import largest
from net2net.operators._partners import partners
from net2net.plan import Plan, TensorPlan
from net2net.pretrained import EpsError, pretrained_in
from net2net.sites import Sites
from net2net.student import (
    MAX_DRAFTS,
    Blueprint,
    ChangedNumber,
    Fit,
    Mismatch,
    NewSizes,
    Setting,
    Trial,
    Verdict,
    compare,
    draft,
    numbers_in,
    settings_of,
)
from net2net.width import Constant, WidthOptions, check_growth, compensate, plan_width


def resize_unread(plan: Plan, shapes: Mapping[str, tuple[int, ...]], sites: Sites) -> Plan:
    """The plan with tensors that no operation reads brought to the size that the student's class gives them."""
    tensors = dict(plan.tensors)
    for name, shape in shapes.items():
        tensors[name] = TensorPlan.resized(sites.inference.graph.state[name].shape, shape, "random")
    return replace(plan, tensors=tensors)


_DRAFTS_OF_A_GUESS = 12  # partners that fit need few changed numbers, and a refusal shouldn't take minutes
Design = tuple[Plan, Blueprint, NewSizes]
Fitted = tuple[Blueprint, list[Constant]]


@dataclass(frozen=True)
class WidthDesigner:
    """Finds a plan, and a student of the teacher's class that runs at its sizes, before any weight is moved."""

    model: nn.Module
    analysis: Analysis
    options: WidthOptions
    trial: Trial
    drafts: int = MAX_DRAFTS  # as many are judged for a design
    fitted: dict[object, Fitted] = field(default_factory=dict)  # a plan with other ways to make units has the same

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
            more = partners(sizes, self.analysis, replace(self, drafts=_DRAFTS_OF_A_GUESS)._works)
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

    def first_fitting(self, plan: Plan, sizes: NewSizes) -> Fitted:
        """The first draft of the student that runs the teacher's operations at the sizes of the plan."""
        shapes = {name: tuple(tensor.shape) for name, tensor in plan.tensors.items()}
        key = repr((shapes, {id(atom): n for atom, n in sizes.sizes.items()}, plan.attributes, plan.changed))
        if key not in self.fitted:
            self.fitted[key] = self._first_fitting(plan, sizes)
        return self.fitted[key]

    def _first_fitting(self, plan: Plan, sizes: NewSizes) -> Fitted:
        reasons: list[str] = []
        advice = ""
        numbers = numbers_in(self.model, sizes, dict(pretrained_in(self.model)))
        start = settings_of(plan.changed, numbers)
        for blueprint in draft(self.model, plan, sizes, self.trial.tried):
            fitting = _Fitting(self.model, plan, sizes, blueprint, self.trial)
            try:
                settings, verdict = Fit(numbers, fitting.judge, self.drafts).find(start)
                return blueprint.having(settings), list(verdict.constants)
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
    return ", ".join(f"'{row.what}' {row.before} -> {row.after}" for row in (c.row() for c in plan.changes))


@dataclass(frozen=True)
class _Fitting:
    """Judges drafts of a student by what they run: as recorded, or as exported where a recording says nothing."""

    model: nn.Module
    plan: Plan
    sizes: NewSizes
    blueprint: Blueprint
    trial: Trial

    def judge(self, settings: tuple[Setting, ...]) -> Verdict:
        """How far the draft with some numbers set anew comes.

        A recording that is right needs no trust in recordings; what is wrong may be wrong in the recording alone.
        """
        drafted = self.blueprint.having(settings)
        if not self.trial.known_as_blind:
            verdict = self._judged(drafted, record)
            if verdict.error is None or not self.trial.blind:
                return verdict
        verdict = self._judged(drafted, capture)
        return self._judged(drafted, record) if isinstance(verdict.error, CaptureError) else verdict

    def _judged(self, drafted: Blueprint, look: Callable[[nn.Module, Inputs], Graph]) -> Verdict:
        try:
            constants = self._constants(drafted, look(drafted.model, self.trial.given))
        except Stopped as stop:
            error = (Mismatch if stop.about_sizes else CouplingError)(str(stop))
            return Verdict((0, stop.steps), (stop.module,), error)
        except Mismatch as error:
            return Verdict((1, error.index), error.modules, error, ran=True)
        except GrowthError as error:
            return Verdict((1, -1), (), error, ran=True)
        return Verdict((2, 0), ran=True, constants=tuple(constants))

    def _constants(self, drafted: Blueprint, graph: Graph) -> list[Constant]:
        """The constants of a draft that differ from the teacher's.

        Raises:
            GrowthError: it doesn't compute what the plan expects.
        """
        known = set(eps_changes(self.model, self.plan))
        return compare(self.sizes, graph, known, drafted.buffers)


def warn_of_twins(plan: Plan, options: WidthOptions) -> None:
    copies = [w.dimension for w in plan.widenings if w.units.has_copies]
    if copies and options.shares == "even" and options.noise is None:
        warn(
            f"copies with even shares and no noise stay twins in training unless dropout separates them: {copies[:3]}. "
            "Use shares='uneven' or noise='zero_sum', which are exact too."
        )


def eps_changes(model: nn.Module, plan: Plan) -> Iterator[tuple[float, float]]:
    for path, attributes in plan.attributes.items():
        for name, new in attributes.items():
            old = getattr(model.get_submodule(path), name)
            yield (old if old is not None else new, new)
