"""Plan -> optimizer: the student's optimizer goes on from where the teacher's was."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from net2net.apply._moments import KINDS, NotUniformError, grow_moment, lineage, more_inputs, scales_of, with_ramp
from net2net.apply._optimizer_rules import OptimizerRules, rules_of
from net2net.errors import OptionError
from net2net.plan import Plan, TensorPlan

RATES = ("keep", "restart", "width", "trajectory", "paper", "boost")
RAMP_KEY = "ramp_step"  # how many steps of its ramp a group has made
_RESTART = 0.3
# What is left of a rate that has fallen to 0 step by step.
_ENDED = 1e-9
_PAPER = 0.1
_BOOST = 1.3
_NOT_OPTIONS = ("params", "param_names", RAMP_KEY)
# Options of a group that are learning rates; schedulers keep the other ones there.
_RATE_KEYS = ("lr", "initial_lr", "max_lr", "min_lr", "swa_lr")


@dataclass(frozen=True, eq=False)
class Followed:
    """A parameter of the student, the parameter of the teacher that it comes from, and what happens on the way."""

    name: str
    parameter: nn.Parameter
    source: nn.Parameter = field(repr=False)
    steps: tuple[TensorPlan, ...] = field(repr=False)

    @property
    def is_new(self) -> bool:
        """Whether the teacher has nothing of it."""
        return any(step.new for step in self.steps)

    @property
    def is_foreign(self) -> bool:
        """Whether it is of another network that the same optimizer trains."""
        return self.source is self.parameter


def followed(plan: Plan, teacher: nn.Module, student: nn.Module) -> list[Followed]:
    """Where each parameter of the student comes from, in the student's order."""
    theirs = dict(teacher.named_parameters(remove_duplicate=False))
    names: dict[nn.Parameter, list[str]] = {}
    for name, parameter in student.named_parameters(remove_duplicate=False):
        names.setdefault(parameter, []).append(name)
    result = []
    for parameter, aliases in names.items():  # the plan names a tied tensor once
        ways = [way for way in (lineage(plan, name) for name in aliases) if way[0] in theirs]
        if not ways:
            raise OptionError(f"'{aliases[0]}' of the student comes from no parameter of the teacher.")
        root, steps = max(ways, key=lambda way: len(way[1]))
        shape = steps[-1].shape if steps else theirs[root].shape
        if tuple(shape) != tuple(parameter.shape):
            raise OptionError(
                f"'{aliases[0]}' is {tuple(parameter.shape)} in the student; the plan makes {tuple(shape)}."
            )
        for step in steps:
            _check_shares(aliases[0], step)
        result.append(Followed(aliases[0], parameter, theirs[root], steps))
    return result


def _check_shares(name: str, step: TensorPlan) -> None:
    """A plan of a version that didn't record the shares of gradients makes weights only."""
    for m in step.axes if step.fill == "source" else ():
        if m is not None and not m.contracted and m.factor is None and m.gradient is None and m.has_copies:
            raise OptionError(
                f"the plan doesn't say how the gradient of '{name}' is shared out over copies: an earlier version of "
                "net2net has written it. Make the growth again to carry an optimizer."
            )


def student_groups(
    plan: Plan, teacher: nn.Module, student: nn.Module, optimizer: Optimizer, rates: str = "keep"
) -> list[dict[str, Any]]:
    """The parameter groups of the student's optimizer: the teacher's, each with the parameters that come from its own.

    Raises:
        OptionError: the optimizer's parameters are not the teacher's, or the rates are not defined for this growth.
    """
    if rates not in RATES:
        raise OptionError(f"rates={rates!r} is not known; use one of {', '.join(RATES)}.")
    rules_of(optimizer)
    parameters = followed(plan, teacher, student)
    if rates == "boost" and not any(p.is_new for p in parameters):
        raise OptionError(
            "rates='boost' is for tensors that are new as a whole, and this growth has none: new units are a part of "
            "tensors that were there, which have one learning rate each. Use rates='keep'."
        )
    result: list[dict[str, Any]] = []
    for number, members in enumerate(_members(optimizer, teacher, parameters)):
        group = optimizer.param_groups[number]
        parts: dict[tuple[tuple[str, float], ...], list[Followed]] = {} if members else {(): []}
        for member in members:
            parts.setdefault(_factors(rates, optimizer, group, member), []).append(member)
        for factors, some in parts.items():
            options = {key: _copied(value) for key, value in group.items() if key not in _NOT_OPTIONS}
            for option, factor in factors:
                for key in _RATE_KEYS if option == "lr" else (option,):
                    if isinstance(options.get(key), (int, float, torch.Tensor)):
                        options[key] = options[key] * factor
            if rates == "restart":  # the height of a cycle is the old schedule's
                options = {k: v for k, v in options.items() if k not in _RATE_KEYS} | _restarted(group, number)
            named = "param_names" in group
            options["params"] = [(p.name, p.parameter) if named else p.parameter for p in some]
            result.append(options)
    return result


def _members(optimizer: Optimizer, teacher: nn.Module, parameters: list[Followed]) -> list[list[Followed]]:
    """The student's parameters of each group of the teacher's optimizer.

    In the student's order where the group is in the teacher's, as an optimizer over `parameters()` is, so that a
    `state_dict` fits an optimizer made anew; else new ones follow the one that they come from. Parameters of other
    networks stay where they are.
    """
    known = {parameter for group in optimizer.param_groups for parameter in group["params"]}
    if known.isdisjoint(teacher.parameters()):
        shape = tuple(next(iter(known)).shape) if known else None
        raise OptionError(
            f"none of the optimizer's {len(known)} parameters (the first is of shape {shape}) is one of the teacher's. "
            "Give the optimizer that trains the network that was grown."
        )
    place = {p: k for k, p in enumerate(teacher.parameters())}
    result = []
    for number, group in enumerate(optimizer.param_groups):
        ours = {p: k for k, p in enumerate(group["params"])}
        names = group.get("param_names", [f"parameter {k} of group {number}" for k in range(len(ours))])
        mine = [p for p in parameters if p.source in ours]
        places = [place[p] for p in ours if p in place]
        if places != sorted(places):
            mine.sort(key=lambda p: ours[p.source])
        others = {k: Followed(names[k], p, p, ()) for p, k in ours.items() if p not in place}
        first = min((ours[p.source] for p in mine), default=0)
        before, after = ([p for k, p in others.items() if (k < first) == early] for early in (True, False))
        result.append([*before, *mine, *after])
    return result


def _restarted(group: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The rates for a schedule that is made anew, from where the old one began, or from the height that it rose to."""
    peak = group.get("max_lr", group.get("initial_lr"))
    if peak is None or not float(peak) > 0:
        raise OptionError(
            f"rates='restart' begins below the peak that a scheduler has left in the optimizer, and group {number} has "
            "none ('initial_lr'). Set 'lr' of the new optimizer's groups by hand."
        )
    old, rate = group["lr"], _RESTART * max(float(peak), float(group["lr"]))
    return {key: torch.full_like(old, rate) if isinstance(old, torch.Tensor) else rate for key in ("lr", "initial_lr")}


def has_ended(optimizer: Optimizer) -> bool:
    """Whether a scheduler has brought every rate down to 0; before the first step it may not have begun."""
    groups = optimizer.param_groups
    return bool(optimizer.state) and all(
        group.get("initial_lr") and float(group["lr"]) <= _ENDED * float(group["initial_lr"]) for group in groups
    )


def _factors(
    rates: str, optimizer: Optimizer, group: Mapping[str, Any], member: Followed
) -> tuple[tuple[str, float], ...]:
    """What the options of a parameter are multiplied by."""
    if member.is_foreign:
        return ()
    if rates == "paper":
        return (("lr", _PAPER),)
    if rates == "boost":
        return (("lr", _BOOST),) if member.is_new else ()
    if rates == "width":
        wider = more_inputs(member.steps)
        return (("lr", 1.0 / wider),) if wider != 1.0 else ()
    if rates in ("keep", "restart"):
        return ()
    name, rule = type(optimizer).__name__, rules_of(optimizer).rates
    if rule is None:
        raise OptionError(f"rates='trajectory': no rates are known with which copies follow {name} exactly.")
    try:
        scales = scales_of(tuple(member.source.shape), member.steps)
        if scales.weight <= 0 or scales.gradient <= 0:
            raise NotUniformError("its copies have opposite signs")
        if scales.weight != 1.0 and group.get("weight_decay") and any(step.offset for step in member.steps):
            raise NotUniformError("it is stored as a difference from 1, which weight decay pulls elsewhere")
        factors = rule(scales, group)
    except NotUniformError as reason:
        raise OptionError(
            f"rates='trajectory' is not defined for '{member.name}': {reason}. It needs how='split', shares='even', "
            "noise=None and whole multiples."
        ) from None
    return tuple((key, factor) for key, factor in factors.items() if factor != 1.0)


def grow_optimizer(
    plan: Plan, teacher: nn.Module, student: nn.Module, optimizer: Optimizer, rates: str = "keep", ramped: bool = False
) -> Optimizer:
    """The student's optimizer: the teacher's class, options and groups, with its state carried along the plan.

    Args:
        plan: the growth.
        teacher: the network that `optimizer` trains.
        student: the network that the plan made of it.
        optimizer: the teacher's optimizer; it is not changed.
        rates: as for `Growth.optimizer`.
        ramped: whether the learning rates will rise from 0.

    Raises:
        OptionError: the optimizer is of an unknown class or no optimizer of the teacher, or the rates are not defined.
    """
    rules = rules_of(optimizer)
    result = _constructed(optimizer, student_groups(plan, teacher, student, optimizer, rates))
    for parameter, state in optimizer.state.items():  # those of other networks
        if any(parameter is p for group in result.param_groups for p in group["params"]):
            result.state[parameter] = {key: _copied(value) for key, value in state.items()}
    mine = {p for group in result.param_groups for p in group["params"]}
    for member in followed(plan, teacher, student):
        state = optimizer.state.get(member.source)
        if member.parameter in mine and state:
            result.state[member.parameter] = dict(_carried(state, member, rules, type(optimizer).__name__, ramped))
    return result


def _constructed(optimizer: Optimizer, groups: list[dict[str, Any]]) -> Optimizer:
    cls: Any = type(optimizer)
    known = inspect.signature(cls).parameters
    try:
        result: Optimizer = cls(groups, **{k: v for k, v in optimizer.defaults.items() if k in known})
    except (TypeError, ValueError) as error:
        raise OptionError(f"{cls.__name__} can't be made for the student: {error}") from error
    result.defaults = dict(optimizer.defaults)
    return result


def _carried(
    state: Mapping[str, Any], member: Followed, rules: OptimizerRules, optimizer: str, ramped: bool
) -> Iterator[tuple[str, Any]]:
    """The state of one parameter of the student, entry by entry."""

    def grow(tensor: torch.Tensor, kind: str) -> torch.Tensor:
        if tensor.shape != member.source.shape:
            raise OptionError(
                f"{optimizer} keeps a {kind} of shape {tuple(tensor.shape)} for a parameter of shape "
                f"{tuple(member.source.shape)}: register a function for it (net2net.register_optimizer)."
            )
        rule = with_ramp(KINDS[kind]) if ramped else KINDS[kind]
        if kind == "weight":  # the distance from the weight is what scales as the weight does
            behind = grow_moment(tensor - member.source.detach(), member.steps, rule)
            return behind.to(member.parameter.device) + member.parameter.detach()
        return grow_moment(tensor, member.steps, rule).to(member.parameter.device)

    with torch.no_grad():
        for key, value in state.items():
            rule = rules.state.get(key)
            if rule is None:
                raise OptionError(
                    f"{optimizer} keeps '{key}' for a parameter, which is not known and would be lost. Say what it is "
                    f"with net2net.register_optimizer({optimizer}, {{'{key}': ...}})."
                )
            if callable(rule):
                yield key, rule(state, grow)
            elif rule == "same" or not isinstance(value, torch.Tensor):
                yield key, _copied(value)
            else:
                yield key, grow(value, rule)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, torch.Tensor) else copy.copy(value)
